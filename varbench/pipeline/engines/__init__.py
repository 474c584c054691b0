"""Engines: where the tasks of a run are computed. All share one store and give the same bits.

`local` is this process. `ray` first spreads the tasks over the workers of a Ray cluster and then
runs as `local` does, which finds everything in the store and records it.
"""

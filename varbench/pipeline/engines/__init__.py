"""Engines: who does the work of a run. All of them share one store and give the same bits.

`local` is this process. `ray` first spreads shards of the stages over the workers of a Ray cluster
and then runs as `local` does, which finds everything in the store and records it.
"""

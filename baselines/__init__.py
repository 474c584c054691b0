"""Baselines, one file each; imported as ``varbench.baselines``.

They use the public protocol that plugins use (``varbench.methods``, ``varbench.models``), where
the paper's own two methods are: ``svare`` and ``vare``. ``varbench list methods`` shows all.
"""

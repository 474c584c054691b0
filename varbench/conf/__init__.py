"""Configuration: Hydra groups ``model``, ``suite`` (YAML here) and ``method`` (dataclasses)."""

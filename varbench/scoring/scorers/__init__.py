"""Scorers: networks that look at picture files. Every module here imports torch."""

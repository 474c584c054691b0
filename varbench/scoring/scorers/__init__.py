"""Scorers: networks that look at image files. Every module here imports torch."""

"""Prompt sets that others have published: known here, fetched by the user, never shipped.

`sets.yaml` says of each where it lives, at which revision, with which checksum and licence, and how
its columns are read (`catalog.py`). `varbench fetch NAME` puts the file, unchanged, into the data
folder (`data_folder.py`, `fetch.py`); from then on it is a prompt set like any other
(`readers.py`).
"""

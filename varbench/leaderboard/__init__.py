"""Published results: files written from a store, checked, measured again, and read back.

`results` defines a file, `publish` writes files from a store, `check` finds their problems,
`reproduce` measures them again and compares, `records` reads them for reports, and `reported` has
the figures that papers give.
"""

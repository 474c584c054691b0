"""Published results: files written from a store, checked, measured again, and read back.

`results` defines a file and `rows` the file beside it, `publish` writes them from a store, `renew`
computes numbers from rows, `check` finds problems, `reproduce` measures again and compares,
`records` reads files for reports, and `reported` has the figures that papers give.
"""

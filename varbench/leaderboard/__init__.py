"""The leaderboard: results files that are published, checked, and read back.

`files` says what a file holds, `publish` writes them from a store, `check` finds what is wrong with
a folder of them, `views` reads them for reports, and `reported` has the figures that papers give.
"""

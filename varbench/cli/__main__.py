"""`python -m varbench.cli` is the command `varbench`."""

from varbench.cli import main

main()

"""`python -m choros` is the `choros` command."""

from choros.cli import main

main()

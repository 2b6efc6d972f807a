"""`python -m choros` is the `choros` command."""

import sys

try:
    from choros.cli import process
except KeyboardInterrupt:  # Ctrl-C before there is anything to stop
    sys.exit(130)

process()

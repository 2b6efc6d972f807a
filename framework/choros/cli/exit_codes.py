"""What a command exits with. `docs/guide.md` says it to scripts; 1, an error of any other kind, stands for itself."""

from choros.errors import Unreachable, UsageError

FAILED = 1
CUT_SHORT = 5
"""Of a process that had to leave something at work."""
INTERRUPTED = 130
OF_ERRORS = ((UsageError, 2), (Unreachable, 4))


def exit_code(error: BaseException) -> int:
    """What a command exits with that ends with this error."""
    return next((code for kind, code in OF_ERRORS if isinstance(error, kind)), FAILED)

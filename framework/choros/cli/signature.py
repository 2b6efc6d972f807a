"""Who it is that acts."""

import getpass
import socket
from typing import Annotated

import typer

By = Annotated[str, typer.Option(metavar="NAME", envvar=["CHOROS_BY"], help="who does this; else who is logged in")]


def whoever() -> str:
    """Who is logged in, and where."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return socket.gethostname()

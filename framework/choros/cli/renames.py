"""--rename: what is called otherwise in another version."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from choros.errors import UsageError

Renames = Annotated[
    list[str] | None,
    typer.Option(
        "--rename", metavar="OLD=NEW", help="a step that is called NEW in that version; may be given several times"
    ),
]


def named(renames: Sequence[str] | None) -> Mapping[str, str]:
    """By the name of then that of now; raises UsageError."""
    names: dict[str, str] = {}
    for given in renames or ():
        then, _, now = given.partition("=")
        if not (then and now):
            raise UsageError(f"--rename {given} does not say what is called how.", "--rename charge=take_payment.")
        if then in names or now in names.values():
            raise UsageError(f"--rename {given} names a step that was named before.", "--rename once for each.")
        names[then] = now
    return names

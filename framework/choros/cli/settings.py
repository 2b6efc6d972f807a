"""`choros settings`: what is set, and where that is from."""

from __future__ import annotations

import typer

from choros.cli.environment import in_force, strangers
from choros.cli.options import Output
from choros.cli.output import Column, field, remark, tell_rows
from choros.cli.verbs import Verbs

app = Verbs()
COLUMNS = [
    Column("NAME", field("name")),
    Column("VALUE", field("value"), least=12),
    Column("FROM", field("from"), least=8),
]


@app.command(examples=["settings", "settings -o json"])
def settings(context: typer.Context, output: Output = "table") -> None:
    """Say what is set by environment, file and secrets, and where that is from; what may hold a password is masked.

    CHOROS_SETTINGS names a file of settings, CHOROS_SECRETS a folder with a file for each secret. Exits with 1 if a
    variable looks like a setting and is none."""
    group = context.find_root().command
    tell_rows(in_force(group), COLUMNS, output, none="nothing can be set")
    wrong = strangers(group)
    for sentence in wrong:
        remark(f"! {sentence}")
    if wrong:
        raise typer.Exit(1)

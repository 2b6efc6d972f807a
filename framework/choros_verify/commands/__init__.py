"""`choros verify` and `choros sim`, which join the command line of `choros` by an entry point."""

from choros.cli.verbs import Verbs
from choros_verify.commands import sim, verify


def join(app: Verbs) -> None:
    """Add them to the command."""
    app.add_typer(verify.app)
    app.add_typer(sim.app, name="sim")

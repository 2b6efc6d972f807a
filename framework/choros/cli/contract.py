"""`choros contract`: what somebody needs who writes a participant or a subscriber in another language."""

import json

from choros.app.contract import contract
from choros.cli.options import AppName
from choros.cli.verbs import Verbs
from choros.roles.loading import load_app

app = Verbs()


@app.command("contract", examples=["contract shop > contract.json"])
def show(application: AppName) -> None:
    """Print every command, reply, refusal code and fact of an application as JSON Schema, for other languages.

    docs/protocol.md says how these travel."""
    print(json.dumps(contract(load_app(application)), indent=2))

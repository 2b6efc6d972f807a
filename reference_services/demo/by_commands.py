"""The shop in which all is commanded, as processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import ClassVar

from choros import App
from reference_services.demo.processes import CHOROS, Processes
from reference_services.orchestrated.app import app

_MODULE = "reference_services.orchestrated"
ROLES: dict[str, Sequence[str]] = {
    "carrier": (sys.executable, "-m", "reference_services.shipping.carrier"),
    **{
        name: (*CHOROS, _MODULE, "--role", f"service:{name}")
        for name in ("payment", "inventory", "shipping", "notifications", "analytics")
    },
    "rejections": (*CHOROS, _MODULE, "--role", "subscriber:notifications"),
    **{f"orchestrator-{number}": (*CHOROS, _MODULE, "--role", "orchestrator") for number in (1, 2)},
    "order": (sys.executable, "-m", "reference_services.order", "--application", _MODULE),
}


class ProcessesByCommands(Processes):
    """A shop of processes. Orders go in by HTTP, as in the hybrid."""

    application: ClassVar[App] = app

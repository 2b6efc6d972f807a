"""The carriers' process: `python -m reference_services.shipping.carrier --database carrier.db --port 8100`."""

from __future__ import annotations

import argparse
import os

import uvicorn

from reference_services.shipping.carrier.http import carrier_http
from reference_services.shipping.carrier.ledger import CarrierLedger


def main() -> None:
    """Serve until told to stop. Options default to CHOROS_DATABASE, CHOROS_HOST and CHOROS_PORT."""
    options = _options().parse_args()
    uvicorn.run(
        carrier_http(CarrierLedger(options.database)), host=options.host, port=options.port, log_level="warning"
    )


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="carrier", description="The carriers: book parcels over HTTP.")
    parser.add_argument("--database", default=os.environ.get("CHOROS_DATABASE", "carrier.db"))
    parser.add_argument("--host", default=os.environ.get("CHOROS_HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=os.environ.get("CHOROS_PORT", "8100"))
    return parser


if __name__ == "__main__":
    main()

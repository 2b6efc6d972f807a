"""The shipping service as an application of its own: `choros run reference_services.shipping`."""

from __future__ import annotations

import os

from choros import App
from reference_services.shipping.carriers import HttpCarrier
from reference_services.shipping.service import shipping_service

CARRIER_URL = "http://127.0.0.1:8100"

app = App("shop", services=(shipping_service(HttpCarrier(os.environ.get("CHOROS_CARRIER_URL", CARRIER_URL))),))

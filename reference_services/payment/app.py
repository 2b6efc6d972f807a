"""The payment service as an application of its own: `choros run reference_services.payment`."""

from __future__ import annotations

import os

from choros import App, UsageError
from reference_services.payment.service import CREDIT_LIMIT, payment_service


def credit_limit() -> int:
    """CHOROS_CREDIT_LIMIT, in pence; raises UsageError."""
    setting = os.environ.get("CHOROS_CREDIT_LIMIT", str(CREDIT_LIMIT))
    if not (setting.isascii() and setting.isdigit()):
        raise UsageError("CHOROS_CREDIT_LIMIT is no number of pence.", f"CHOROS_CREDIT_LIMIT={CREDIT_LIMIT}.")
    return int(setting)


app = App("shop", services=(payment_service(credit_limit()),))

"""The payment service: charges an order to its customer, up to a limit."""

from __future__ import annotations

from choros import Call, Refused, Service, Transaction
from reference_services.contracts import ChargePayment, PaymentCharged, PaymentRefunded, RefundPayment
from reference_services.payment import ledger

CREDIT_LIMIT = 35_000
"""The most that one order may cost, in pence."""


def payment_service(credit_limit: int = CREDIT_LIMIT) -> Service:
    """The service with its handlers. Both write through the transaction that also holds the reply."""
    service = Service("payment")
    service.prepares(ledger.create_tables)

    @service.handles(ChargePayment)
    async def charge_payment(command: ChargePayment, db: Transaction, call: Call) -> PaymentCharged:
        if command.amount > credit_limit:
            raise Refused("credit_limit_exceeded")
        charge_id = await ledger.charge(db, command.order_id, command.customer, command.amount, call.key)
        return PaymentCharged(charge_id=charge_id)

    @service.handles(RefundPayment)
    async def refund_payment(command: RefundPayment, db: Transaction, call: Call) -> PaymentRefunded:
        return PaymentRefunded(amount=await ledger.refund(db, command.order_id, call.key))

    return service

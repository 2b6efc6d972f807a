"""`choros run shop_payment.service --role service:payment`."""

from sqlalchemy.ext.asyncio import AsyncSession

from choros import App, Done, Refused, Service
from shop_contracts import ChargePayment, RefundPayment
from shop_payment.models import Account, Charge

FIRST_CREDIT = 100
payment = Service("payment")


@payment.handles(ChargePayment)
async def charge(command: ChargePayment, session: AsyncSession) -> Done:
    """Charge and credit are one transaction with the answer."""
    account = await session.get(Account, command.customer, with_for_update=True)
    if account is None:
        account = Account(customer=command.customer, credit=FIRST_CREDIT)
        session.add(account)
    if command.amount > account.credit:
        raise Refused("no_credit")
    account.credit -= command.amount
    session.add(Charge(order_id=command.order_id, customer=command.customer, amount=command.amount))
    return Done()


@payment.handles(RefundPayment)
async def refund(command: RefundPayment, session: AsyncSession) -> Done:
    """What was charged is there: without it this is never called."""
    charged = await session.get_one(Charge, command.order_id)
    account = await session.get_one(Account, charged.customer, with_for_update=True)
    account.credit += charged.amount
    await session.delete(charged)
    return Done()


app = App("team-shop", services=[payment])

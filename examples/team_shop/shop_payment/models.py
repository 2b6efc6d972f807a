"""The tables of payment."""

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Their metadata."""


class Account(Base):
    """How much a customer may still spend."""

    __tablename__ = "account"
    customer: Mapped[str] = mapped_column(primary_key=True)
    credit: Mapped[int]


class Charge(Base):
    """What was taken for an order."""

    __tablename__ = "charge"
    order_id: Mapped[str] = mapped_column(primary_key=True)
    customer: Mapped[str]
    amount: Mapped[int]

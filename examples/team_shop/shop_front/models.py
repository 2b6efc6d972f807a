"""The tables of the front."""

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Their metadata."""


class Order(Base):
    """One that a customer placed."""

    __tablename__ = "customer_order"
    order_id: Mapped[str] = mapped_column(primary_key=True)
    customer: Mapped[str]
    amount: Mapped[int]
    saga_id: Mapped[str]

"""The tables of shipping."""

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Their metadata."""


class Parcel(Base):
    """One that is on its way."""

    __tablename__ = "parcel"
    parcel_id: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[str]
    tenant: Mapped[str]

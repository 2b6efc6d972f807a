"""The tables of each database, and beside them those of choros: its barrier, or what it is asked to start."""

from alembic import op

import shop_front.models
import shop_payment.models
import shop_shipping.models
from choros.sqlalchemy import barrier_tables

revision = "0001"
down_revision = None
TABLES = {
    "front": shop_front.models.Base.metadata,
    "payment": shop_payment.models.Base.metadata,
    "shipping": shop_shipping.models.Base.metadata,
}


def upgrade(database: str) -> None:
    """Make them."""
    TABLES[database].create_all(op.get_bind())
    for statement in barrier_tables():
        op.execute(statement)

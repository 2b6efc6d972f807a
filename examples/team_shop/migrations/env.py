"""`alembic -x database=payment upgrade head`: one history for each database, each in its own."""

import os

from alembic import context
from sqlalchemy import create_engine

name = context.get_x_argument(as_dictionary=True)["database"]
engine = create_engine(os.environ[f"{name.upper()}_DB"].replace("postgresql:", "postgresql+psycopg:"))

with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations(database=name)
engine.dispose()

"""What a service with a PostgreSQL behind asyncpg writes with, besides `choros`: needs `choros[postgres]`."""

from choros.store.postgres.barrier import PostgresDatabase
from choros.store.postgres.transaction import PostgresTransaction

__all__ = ["PostgresDatabase", "PostgresTransaction"]

"""What a service with a database behind SQLAlchemy writes with, besides `choros`: needs `choros[sqlalchemy]`."""

from choros.store.sql.schema import barrier_tables
from choros.store.sqlalchemy.barrier import SqlAlchemyDatabase
from choros.store.sqlalchemy.threaded import ThreadedSqlAlchemyDatabase, ThreadedSqlAlchemyTransaction
from choros.store.sqlalchemy.transaction import SqlAlchemyTransaction

__all__ = [
    "SqlAlchemyDatabase",
    "SqlAlchemyTransaction",
    "ThreadedSqlAlchemyDatabase",
    "ThreadedSqlAlchemyTransaction",
    "barrier_tables",
]

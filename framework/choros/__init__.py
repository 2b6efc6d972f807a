"""choros: sagas that command, facts that anybody may follow, on an ordinary RabbitMQ."""

from choros.errors import ChorosError, DeclarationError, OutcomePending, Refused, SagaNotFound, StartConflict
from choros.messages import Command, Done, Fact, Failure, Message, Reply
from choros.roles import Addresses, client_of, running
from choros.runtime.application import App
from choros.runtime.client import Client, Outcome
from choros.runtime.orchestrator import Orchestrator
from choros.runtime.participant import Participant
from choros.runtime.service import Call, Service
from choros.runtime.settings import Settings
from choros.runtime.subscriber import Subscriber
from choros.saga.declaration import Saga
from choros.saga.policy import RetryPolicy
from choros.saga.steps import Pivot, Publish, Retriable, Step
from choros.store.barrier import Transaction
from choros.store.barrier_rows import SqliteTransaction
from choros.transport.fact_log import FactLog
from choros.version import __version__

__all__ = [
    "Addresses",
    "App",
    "Call",
    "ChorosError",
    "Client",
    "Command",
    "DeclarationError",
    "Done",
    "Fact",
    "FactLog",
    "Failure",
    "Message",
    "Orchestrator",
    "Outcome",
    "OutcomePending",
    "Participant",
    "Pivot",
    "Publish",
    "Refused",
    "Reply",
    "Retriable",
    "RetryPolicy",
    "Saga",
    "SagaNotFound",
    "Service",
    "Settings",
    "SqliteTransaction",
    "StartConflict",
    "Step",
    "Subscriber",
    "Transaction",
    "__version__",
    "client_of",
    "running",
]

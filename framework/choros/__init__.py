"""choros: sagas that command, facts that anybody may follow, on an ordinary RabbitMQ."""

from choros.app.app import App
from choros.app.service import Call, Service
from choros.app.settings import Settings
from choros.errors import ChorosError, DeclarationError, OutcomePending, Refused, SagaNotFound, StartConflict
from choros.messages import Command, Done, Fact, Failure, Message, Reply
from choros.roles.roles import Addresses, client_of, running
from choros.runtime.client.client import Client, Outcome
from choros.runtime.orchestrator.orchestrator import Orchestrator
from choros.runtime.participant.participant import Participant
from choros.runtime.subscriber.subscriber import Subscriber
from choros.saga.nodes.steps import Pivot, Publish, Retriable, Step
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga
from choros.store.barrier import Transaction
from choros.store.sqlite.transaction import SqliteTransaction
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

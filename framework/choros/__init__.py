"""choros: sagas that command, facts that anybody may follow, on an ordinary RabbitMQ.

What a program writes with is in here, what its tests write with in `choros.testing` and `choros_verify`. Deeper paths
are private.
"""

from choros.app.app import App
from choros.app.choreography import Choreography
from choros.app.fact_start import FactStart
from choros.app.foreign import ForeignFact, ForeignFacts
from choros.app.handler import Call
from choros.app.hearing import Batch, Rate
from choros.app.joining import all_of
from choros.app.later import Later
from choros.app.outbox import Outbox
from choros.app.program import Program
from choros.app.schedule import Schedule
from choros.app.sending import SentMessage
from choros.app.service import Service
from choros.app.settings import Settings
from choros.errors import (
    BrokerMisconfigured,
    BrokerUnreachable,
    ChorosError,
    DeclarationError,
    DeclaredOtherwise,
    FactConflict,
    MessageRejected,
    MessageUnwritable,
    Misconfigured,
    OutcomePending,
    Refused,
    SagaNotFound,
    StartConflict,
    StoreMisconfigured,
    StoreUnreachable,
    TokenUnknown,
    TooLate,
    Unreachable,
    UpdateRefused,
    UsageError,
    WrongFact,
)
from choros.messages import Command, Done, Fact, Failure, Message, Reply, Signal, Update
from choros.roles.addresses import Addresses
from choros.roles.publish_in import blocking_publish_in, publish_in
from choros.roles.roles import client_of, publisher_of, running, unfinished_of
from choros.roles.start_in import blocking_start_in, start_in
from choros.runtime.client.blocking import BlockingClient, blocking
from choros.runtime.client.client import Client
from choros.runtime.client.outcome import Outcome
from choros.runtime.client.publisher import FactPublisher
from choros.runtime.client.query import SagaState
from choros.runtime.participant.unfinished import Unfinished, UnfinishedCommand
from choros.saga.lock import Lock
from choros.saga.nodes import (
    Branch,
    Check,
    Existing,
    ForEach,
    Local,
    Nested,
    Parallel,
    Pivot,
    Publish,
    Reminder,
    Repeat,
    Retriable,
    Scope,
    Sleep,
    Step,
    Wait,
    When,
)
from choros.saga.policy import RetryPolicy
from choros.saga.saga import Saga
from choros.store.barrier import Transaction
from choros.store.blocking import BlockingTransaction
from choros.store.local_undo import LocalUndo
from choros.store.memory.barrier import MemoryTransaction
from choros.store.memory.blocking import BlockingMemoryTransaction
from choros.store.redis.blocking import BlockingRedisTransaction
from choros.store.redis.transaction import RedisTransaction
from choros.store.sqlite.blocking import BlockingSqliteTransaction
from choros.store.sqlite.transaction import SqliteTransaction
from choros.transport.fact_log import FactLog
from choros.version import __version__
from choros.wire.foreign import ForeignMessage
from choros.wire.own_headers import Headers

__all__ = [
    "Addresses",
    "App",
    "Batch",
    "BlockingClient",
    "BlockingMemoryTransaction",
    "BlockingRedisTransaction",
    "BlockingSqliteTransaction",
    "BlockingTransaction",
    "Branch",
    "BrokerMisconfigured",
    "BrokerUnreachable",
    "Call",
    "Check",
    "Choreography",
    "ChorosError",
    "Client",
    "Command",
    "DeclarationError",
    "DeclaredOtherwise",
    "Done",
    "Existing",
    "Fact",
    "FactConflict",
    "FactLog",
    "FactPublisher",
    "FactStart",
    "Failure",
    "ForEach",
    "ForeignFact",
    "ForeignFacts",
    "ForeignMessage",
    "Headers",
    "Later",
    "Local",
    "LocalUndo",
    "Lock",
    "MemoryTransaction",
    "Message",
    "MessageRejected",
    "MessageUnwritable",
    "Misconfigured",
    "Nested",
    "Outbox",
    "Outcome",
    "OutcomePending",
    "Parallel",
    "Pivot",
    "Program",
    "Publish",
    "Rate",
    "RedisTransaction",
    "Refused",
    "Reminder",
    "Repeat",
    "Reply",
    "Retriable",
    "RetryPolicy",
    "Saga",
    "SagaNotFound",
    "SagaState",
    "Schedule",
    "Scope",
    "SentMessage",
    "Service",
    "Settings",
    "Signal",
    "Sleep",
    "SqliteTransaction",
    "StartConflict",
    "Step",
    "StoreMisconfigured",
    "StoreUnreachable",
    "TokenUnknown",
    "TooLate",
    "Transaction",
    "Unfinished",
    "UnfinishedCommand",
    "Unreachable",
    "Update",
    "UpdateRefused",
    "UsageError",
    "Wait",
    "When",
    "WrongFact",
    "__version__",
    "all_of",
    "blocking",
    "blocking_publish_in",
    "blocking_start_in",
    "client_of",
    "publish_in",
    "publisher_of",
    "running",
    "start_in",
    "unfinished_of",
]  # fmt: skip

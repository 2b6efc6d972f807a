"""choros: sagas that command, facts that anybody may follow, on an ordinary RabbitMQ.

What a program writes with is in here, what its tests write with in `choros.testing` and `choros_verify`. Deeper paths
are private.

Each name is imported when it is first asked for: a package of contracts needs no orchestrator.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from choros.version import __version__

if TYPE_CHECKING:
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
    from choros.wire.foreign import ForeignMessage
    from choros.wire.own_headers import Headers
else:
    _HOMES = {
        "choros.app.app": "App",
        "choros.app.choreography": "Choreography",
        "choros.app.fact_start": "FactStart",
        "choros.app.foreign": "ForeignFact ForeignFacts",
        "choros.app.handler": "Call",
        "choros.app.hearing": "Batch Rate",
        "choros.app.joining": "all_of",
        "choros.app.later": "Later",
        "choros.app.outbox": "Outbox",
        "choros.app.program": "Program",
        "choros.app.schedule": "Schedule",
        "choros.app.sending": "SentMessage",
        "choros.app.service": "Service",
        "choros.app.settings": "Settings",
        "choros.errors": (
            "BrokerMisconfigured BrokerUnreachable ChorosError DeclarationError DeclaredOtherwise "
            "FactConflict MessageRejected MessageUnwritable Misconfigured OutcomePending Refused "
            "SagaNotFound StartConflict StoreMisconfigured StoreUnreachable TokenUnknown TooLate "
            "Unreachable UpdateRefused UsageError WrongFact"
        ),
        "choros.messages": "Command Done Fact Failure Message Reply Signal Update",
        "choros.roles.addresses": "Addresses",
        "choros.roles.publish_in": "blocking_publish_in publish_in",
        "choros.roles.roles": "client_of publisher_of running unfinished_of",
        "choros.roles.start_in": "blocking_start_in start_in",
        "choros.runtime.client.blocking": "BlockingClient blocking",
        "choros.runtime.client.client": "Client",
        "choros.runtime.client.outcome": "Outcome",
        "choros.runtime.client.publisher": "FactPublisher",
        "choros.runtime.client.query": "SagaState",
        "choros.runtime.participant.unfinished": "Unfinished UnfinishedCommand",
        "choros.saga.lock": "Lock",
        "choros.saga.nodes": (
            "Branch Check Existing ForEach Local Nested Parallel Pivot Publish Reminder Repeat "
            "Retriable Scope Sleep Step Wait When"
        ),
        "choros.saga.policy": "RetryPolicy",
        "choros.saga.saga": "Saga",
        "choros.store.barrier": "Transaction",
        "choros.store.blocking": "BlockingTransaction",
        "choros.store.local_undo": "LocalUndo",
        "choros.store.memory.barrier": "MemoryTransaction",
        "choros.store.memory.blocking": "BlockingMemoryTransaction",
        "choros.store.redis.blocking": "BlockingRedisTransaction",
        "choros.store.redis.transaction": "RedisTransaction",
        "choros.store.sqlite.blocking": "BlockingSqliteTransaction",
        "choros.store.sqlite.transaction": "SqliteTransaction",
        "choros.transport.fact_log": "FactLog",
        "choros.wire.foreign": "ForeignMessage",
        "choros.wire.own_headers": "Headers",
    }
    _HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

    def __getattr__(name: str) -> Any:
        """What is asked for by this name for the first time."""
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module 'choros' has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(home), name)
        return found

    def __dir__() -> list[str]:
        """All that there is."""
        return sorted({*globals(), *__all__})


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

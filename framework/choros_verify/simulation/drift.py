"""Other releases of an application: with its sagas declared otherwise under the same versions, which is a mistake, and
a service from before one of its handlers was written."""

import random
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any

from choros.app.app import App
from choros.app.handler import Handler
from choros.app.service import Service
from choros.errors import DeclarationError
from choros.saga.nesting import nested_in
from choros.saga.outline import Declared
from choros.saga.parameters import Builder
from choros.saga.saga import Saga

Change = Callable[[Sequence[Declared]], Sequence[Declared]]


def _renamed(nodes: Sequence[Declared]) -> Sequence[Declared]:
    at = next(index for index, node in enumerate(nodes) if node.commands)
    return [*nodes[:at], _named(nodes[at], "renamed"), *nodes[at + 1 :]]


def _named(node: Declared, name: str) -> Declared:
    """The same node by another name; most are frozen."""
    other = copy(node)
    object.__setattr__(other, "name", name)
    return other


_CHANGES: Sequence[Change] = (
    _renamed,
    lambda nodes: nodes[1:],
    lambda nodes: nodes[:-1],
    lambda nodes: [*nodes[1::-1], *nodes[2:]],  # the first two change places
    lambda nodes: [_named(nodes[0], "inserted"), *nodes],
)


def drifted(app: App, chance: random.Random) -> App:
    """The application with every saga changed in one way; a saga that no change leaves whole stays as it is, and so
    does one that is nested in another: that says what it is declared as."""
    nested = {(leaf.child.saga, leaf.child.version) for saga in app.sagas.values() for leaf in nested_in(saga.outline)}
    sagas = [saga if known in nested else _drifted(saga, chance) for known, saga in app.sagas.items()]
    flows, services = app.choreographies.values(), app.services.values()
    return App(
        app.namespace, sagas=sagas, services=services, name=app.name, fact_log=app.fact_log, choreographies=flows
    )


def lacking(service: Service, chance: random.Random) -> Service:
    """The service before one of its handlers was written; a reaction that is undone is older than its undo."""
    older = copy(service)
    older._commands, older._facts = (), ()
    older.handlers, older.reactions = _one_less(service.handlers, chance), _one_less(service.reactions, chance)
    return older


def _one_less(handlers: Mapping[str, Handler], chance: random.Random) -> dict[str, Handler]:
    undone = {handler.undoes for handler in handlers.values()}
    new = [name for name, handler in handlers.items() if handler.message not in undone]
    gone = chance.choice(new) if new else ""
    return {name: handler for name, handler in handlers.items() if name != gone}


def _drifted(saga: Saga[Any], chance: random.Random) -> Saga[Any]:
    for change in chance.sample(_CHANGES, len(_CHANGES)):
        try:
            changed = _with(saga, change(saga.steps))
        except DeclarationError:
            continue  # a function asks for what is not there any more, or nothing is commanded
        if changed.fingerprint != saga.fingerprint:
            return changed
    return saga


def _with(saga: Saga[Any], nodes: Sequence[Declared]) -> Saga[Any]:
    outline = saga.outline
    return Saga(
        saga.name, start=saga.start, steps=nodes, version=saga.version, key=saga.key, deadline=saga.deadline,
        completed=_declared(outline.completed), compensated=_declared(outline.compensated),
        result=outline.result.function if outline.result else None,
    )  # fmt: skip


def _declared(builders: Sequence[Builder]) -> list[Callable[..., Any]]:
    """The functions as the saga got them: a plan knows of them only that they make messages."""
    return [builder.function for builder in builders]

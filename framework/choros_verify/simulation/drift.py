"""The same application with its sagas declared otherwise under the same versions: a mistake that somebody deploys."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from choros.app.app import App
from choros.errors import DeclarationError
from choros.saga.outline import Declared
from choros.saga.parameters import Builder
from choros.saga.saga import Saga

Change = Callable[[Sequence[Declared]], Sequence[Declared]]


def _renamed(nodes: Sequence[Declared]) -> Sequence[Declared]:
    at = next(index for index, node in enumerate(nodes) if node.commands)
    return [*nodes[:at], replace(cast(Any, nodes[at]), name="renamed"), *nodes[at + 1 :]]


_CHANGES: Sequence[Change] = (
    _renamed,
    lambda nodes: nodes[1:],
    lambda nodes: nodes[:-1],
    lambda nodes: [*nodes[1::-1], *nodes[2:]],  # the first two change places
    lambda nodes: [replace(cast(Any, nodes[0]), name="inserted"), *nodes],
)


def drifted(app: App, chance: random.Random) -> App:
    """The application with every saga changed in one way; a saga that no change leaves whole stays as it is."""
    sagas = [_drifted(saga, chance) for saga in app.sagas.values()]
    return App(app.namespace, sagas=sagas, services=app.services.values(), name=app.name, fact_log=app.fact_log)


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
    )  # fmt: skip


def _declared(builders: Sequence[Builder]) -> list[Callable[..., Any]]:
    """The functions as the saga got them: a plan knows of them only that they make messages."""
    return [builder.function for builder in builders]

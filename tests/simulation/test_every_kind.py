"""No kind of node that a user may write is forgotten by the simulation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from choros import App
from choros.saga import nodes
from tests.simulation import every_node, leftovers

ELSEWHERE: dict[str, App] = {"Nested": leftovers.app}
"""Kinds that do not stand in the application in which all others do, and the one in which they are simulated."""
KINDS = {name: getattr(nodes, name) for name in nodes.__all__}


def kinds_in(declared: Any) -> Iterator[str]:
    """The kinds of nodes in what a user wrote, however deep."""
    if isinstance(declared, tuple | list):
        for one in declared:
            yield from kinds_in(one)
    elif type(declared).__name__ in KINDS:
        yield type(declared).__name__
        names = {slot for kind in type(declared).__mro__ for slot in getattr(kind, "__slots__", ())}
        for name in {*names, *getattr(declared, "__dict__", ())}:
            yield from kinds_in(getattr(declared, name, None))


def kinds_of(app: App) -> set[str]:
    return {kind for saga in app.sagas.values() for kind in kinds_in(saga.steps)}


def test_every_kind_of_node_is_simulated() -> None:
    assert {*KINDS} - kinds_of(every_node.app) == {*ELSEWHERE}, "put it into every_node.py, or name where it stands"
    assert {kind for kind, app in ELSEWHERE.items() if kind not in kinds_of(app)} == set()


def test_so_is_what_else_a_saga_declares() -> None:
    sagas = every_node.app.sagas.values()
    assert {saga.lock.when_taken for saga in sagas if saga.lock} == {"queue", "refuse"}
    assert any(saga.outline.updates for saga in sagas)
    assert {type(leaf).__name__ for saga in sagas for leaf in saga.outline.commands if leaf.finished_within}

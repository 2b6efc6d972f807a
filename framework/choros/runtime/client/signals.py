"""Which of a saga's waits a signal is for, and whether whoever gives it has to say who he is."""

from collections.abc import Sequence
from typing import Any

from choros.errors import UsageError, unknown, with_article
from choros.messages import Fact, Message, Signal
from choros.runtime.orchestrator.signature import Signature
from choros.saga.outline import Composite, Outline
from choros.saga.paths import declared
from choros.saga.saga import Saga
from choros.saga.waiting import SignalWait


def signal_to(saga: Saga[Any], signal: Signal | Fact, wait: str, signature: Signature) -> str:
    """The path of the wait; raises UsageError where none is meant, or several, or nobody signs for it."""
    leaf = wait_of(saga, wait, type(signal))
    if leaf.signal is not type(signal):
        what = f"{leaf.path} of saga {saga.name!r} waits for {leaf.signal.__name__}, not {type(signal).__name__}."
        raise UsageError(what, f"{with_article(leaf.signal)}.")
    if item := _unsaid(saga.outline, leaf.path):
        first = leaf.path.replace(f"{item}[]", f"{item}[0]")
        raise UsageError(f"{leaf.path} stands in each item of {item}.", f"name one of them: {first}.")
    if leaf.by and not signature.by:
        raise UsageError(f"{leaf.path} is for {leaf.by} to say, and nobody signs.", "client.signed('Ann', 'why').")
    return leaf.path


def wait_of(saga: Saga[Any], wait: str, kind: type[Message] = Message) -> SignalWait:
    """The wait of this path, or without one the only one for such a signal; raises UsageError."""
    return _named(saga, wait) if wait else _only(saga, kind)


def _waits(saga: Saga[Any]) -> Sequence[SignalWait]:
    return [leaf for leaf in saga.outline.leaves.values() if isinstance(leaf, SignalWait)]


def _named(saga: Saga[Any], wait: str) -> SignalWait:
    leaf = saga.outline.leaf(wait)
    if not isinstance(leaf, SignalWait):
        paths = [one.path for one in _waits(saga)]
        raise UsageError(*unknown(f"saga {saga.name!r} has no wait {wait!r}.", wait, paths))
    return leaf


def _only(saga: Saga[Any], kind: type[Message]) -> SignalWait:
    """The wait for this, if there is one alone."""
    waits = [one for one in _waits(saga) if issubclass(one.signal, kind)]
    if not waits:
        raise UsageError(f"Nothing in saga {saga.name!r} waits for {kind.__name__}.", f"Wait({kind.__name__}, ...).")
    if len(waits) > 1:
        paths = ", ".join(one.path for one in waits)
        raise UsageError(f"saga {saga.name!r} waits for {kind.__name__} at several places.", f"name one of {paths}.")
    return waits[0]


def _unsaid(outline: Outline, path: str) -> str:
    """The loop over items of which the path does not say which; what time of a `Repeat` is meant needs no saying."""
    loops = [path[:at] for at in range(len(path)) if path.startswith("[]", at)]
    return next((one for one in loops if _has_items(outline, one)), "")


def _has_items(outline: Outline, path: str) -> bool:
    node = outline.nodes.get(declared(path))
    return isinstance(node, Composite) and node.loop is not None and node.loop.item is not None

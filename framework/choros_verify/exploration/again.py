"""What an ended saga may be run again as: what its successor begins with, for each end and each step to begin from.

The effects of the steps that are kept are the successor's own from then on, under the keys that they were carried out
with: so it has the books of their participants as they are. Of all other steps only the account goes on, of what is
there and what is not: their keys are other ones, and what is still on its way to the old ones was held to every promise
in the walk that led to the end."""

from collections.abc import Collection, Iterator, Mapping

from choros.saga.machine.instance import NodeState, States
from choros.saga.outline import Outline, Publication
from choros_verify.exploration.books import Books
from choros_verify.exploration.decisions import Stored, TakenOver
from choros_verify.exploration.protocol import Protocol


def successors(
    protocol: Protocol, outline: Outline, reached: Collection[tuple[Stored, tuple[Books, ...]]]
) -> Collection[TakenOver]:
    """All that anybody may have a saga run again as, which has come to these states, each once."""
    return dict.fromkeys(one for stored, books in reached for one in _of_one(protocol, outline, stored, books))


def _of_one(protocol: Protocol, outline: Outline, stored: Stored, books: tuple[Books, ...]) -> Iterator[TakenOver]:
    for part in outline.parts:
        if not protocol.why_not(outline, stored.instance, part.path):
            kept = protocol.kept_by(outline, stored.instance, part.path)
            yield _taken_over(outline, stored, kept, books)


def _taken_over(outline: Outline, stored: Stored, kept: Mapping[str, NodeState], books: tuple[Books, ...]) -> TakenOver:
    order = [standing.intersection(kept) for standing in stored.order]
    own = zip(outline.paths, books, strict=True)
    return TakenOver(
        States(kept),
        stored.instance.updated,
        tuple(_facts(outline, kept)),
        tuple(one for one in order if one),
        tuple(one if path in kept else Books(applied=int(one.stands)) for path, one in own),
    )


def _facts(outline: Outline, kept: Mapping[str, NodeState]) -> Iterator[str]:
    for path, state in kept.items():
        leaf = outline.leaf(path)
        if isinstance(leaf, Publication) and state.progress == "published":
            yield leaf.fact_of(state.choice).type_name

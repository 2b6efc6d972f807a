"""Whether what stands in the services' books is one way through a saga's declaration: whole where it was gone, and
nothing of it anywhere else. A saga's record is asked for nothing: which branch is due, and which items there are, the
declaration's functions say once more, as far as they ask for the start message and for items alone."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from choros.messages import Message
from choros.saga.outline import Commanded, Composite, Limb, Outline, Publication, SagaPart
from choros.saga.parameters import PureFunction
from choros.saga.paths import in_item, same_item

UNKNOWN: Any = object()
"""What nobody can say without the saga's record."""
_FIRST_INDEX = re.compile(r"\[([0-9]+)\]")


@dataclass(frozen=True)
class WaysGone:
    """What stands of one saga."""

    start: Message
    net: Mapping[str, int]
    """How often each step's effect is there, and each fact is out that was not taken back, by path."""
    taken_over: Container[str] = ()
    """Paths of the steps that a person has answered for: these may stand or not."""
    _items: dict[str, Any] = field(default_factory=dict)

    def completed(self, outline: Outline) -> Iterator[str]:
        """What is wrong if this saga is completed."""
        for part in outline.parts:
            if isinstance(part, Commanded) and part.existing:
                yield from self._unless(part, part.path, 0)
            else:
                yield from self._whole(part, "")

    def compensated(self, outline: Outline) -> Iterator[str]:
        """What is wrong if it is undone."""
        for part in outline.parts:
            if isinstance(part, Commanded) and part.existing:
                yield from self._unless(part, part.path, 1)
            else:
                yield from self._gone(part, "")

    # --- one node, in this item -------------------------------------------------------------------------------------

    def _whole(self, part: SagaPart, item: str) -> list[str]:
        """What is wrong with it where it is to stand."""
        path = in_item(part.path, item)
        if not isinstance(part, Composite):
            return self._unless(part, path, 1)
        if part.loop:
            return [said for one in self._times(part, path) for said in self._limb(part.limbs[0], one, stands=True)]
        return self._ways(part, item)

    def _gone(self, part: SagaPart, item: str) -> list[str]:
        """What is wrong with it where nothing of it may be left."""
        path = in_item(part.path, item)
        if not isinstance(part, Composite):
            return self._unless(part, path, 0)
        items = self._seen(path) if part.loop else [item]
        return [said for one in items for limb in part.limbs for said in self._limb(limb, one, stands=False)]

    def _limb(self, limb: Limb, item: str, *, stands: bool) -> list[str]:
        judged = self._whole if stands else self._gone
        return [said for part in limb.parts for said in judged(part, item)]

    def _unless(self, leaf: SagaPart, path: str, wanted: int) -> list[str]:
        if not isinstance(leaf, Commanded | Publication) or path in self.taken_over:
            return []
        net, undo = self.net.get(path, 0), leaf.undo
        passed_over = leaf.action.optional and net == 0
        may_stay = not wanted and (not leaf.changes or bool(undo and undo.optional))
        return [] if net == wanted or passed_over or may_stay else [f"net effect of {path}: {net}"]

    # --- which ways through it ----------------------------------------------------------------------------------------

    def _ways(self, part: Composite, item: str) -> list[str]:
        """Each is whole, or nothing is left of it; and so many of them are whole as this node takes."""
        whole = [self._limb(limb, item, stands=True) for limb in part.limbs]
        if not (part.alternatives or part.wins):
            return [said for wrong in whole for said in wrong]
        gone = [self._limb(limb, item, stands=False) for limb in part.limbs]
        if halves := [[*wrong, *left] for wrong, left in zip(whole, gone, strict=True) if wrong and left]:
            return [said for half in halves for said in half]
        due = self._due(part, item)
        if due is not None:
            return [*whole[due], *(said for place, left in enumerate(gone) if place != due for said in left)]
        return self._counted(part, in_item(part.path, item), whole, gone)

    def _counted(self, part: Composite, path: str, whole: list[list[str]], gone: list[list[str]]) -> list[str]:
        least = part.wins or int(len(part.limbs) > 1)  # a scope without another way may come to nothing
        most = 1 if part.alternatives else part.wins if part.join.startswith("first") else len(part.limbs)
        stand, may = sum(map(bool, gone)), sum(not wrong for wrong in whole)
        if stand <= most and may >= least:
            return []
        return [f"{stand} ways through {path} stand, and {least} to {most} should"]

    def _due(self, part: Composite, item: str) -> int | None:
        """The branch that its questions stand for; None where nobody knows."""
        for place, question in enumerate(part.questions):
            answer = self._said(question, item)
            if answer is UNKNOWN:
                return None
            if answer:
                return place
        return len(part.limbs) - 1 if part.questions else None

    def _times(self, part: Composite, path: str) -> list[str]:
        """Each item that there is, or each time that it was done: once at least."""
        assert part.loop is not None
        listed = self._said(part.loop.asked, path) if part.loop.item is not None else UNKNOWN
        if listed is UNKNOWN:
            return self._seen(path) or ([] if part.loop.item is not None else [f"{path}[0]"])
        self._items.update({f"{path}[{index}]": one for index, one in enumerate(listed)})
        there = [f"{path}[{index}]" for index in range(len(listed))]
        return [*there, *(one for one in self._seen(path) if one not in there)]

    def _seen(self, path: str) -> list[str]:
        """The items that left a trace, and those before them."""
        rests = (one[len(path) :] for one in self.net if one.startswith(f"{path}["))
        indexes = [int(found.group(1)) for rest in rests if (found := _FIRST_INDEX.match(rest))]
        return [f"{path}[{index}]" for index in range(max(indexes, default=-1) + 1)]

    def _said(self, asked: PureFunction, where: str) -> Any:
        given: dict[str, Any] = {}
        for need in asked.needs:
            item = same_item(need.step, where)
            if need.source == "start":
                given[need.parameter] = self.start
            elif need.source == "item" and item in self._items:
                given[need.parameter] = self._items[item]
            else:
                return UNKNOWN
        return asked.function(**given)

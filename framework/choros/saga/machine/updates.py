"""Updates: what is asked of a running saga is accepted, or refused with a code; either answer is kept under its id."""

from choros.errors import Refused
from choros.messages import Failure
from choros.saga.machine.inputs import UpdateAnswer, UpdateRequested
from choros.saga.machine.instance import ROOT
from choros.saga.machine.turn import BuildFailed
from choros.saga.machine.walk import SagaWalk
from choros.saga.parameters import DeclaredUpdate

MOST_UPDATES = 256
"""Updates that a saga answers, in all."""
MOST_CHARACTERS = 65_536
"""Of those together that it has accepted last, one of each type: they stand in the record."""
MOST_DETAIL = 4_000
"""Characters that a refusal may say."""


def take_update(walk: SagaWalk, asked: UpdateRequested) -> None:
    """Judge it on the saga as it is in this very decision; it moves nothing, but what is built from now on sees it."""
    update = walk.outline.updates[asked.update]
    if walk.instance.updates >= MOST_UPDATES:
        walk.note("update_refused", asked.update, code="too_many")
        return
    answer = _judged(walk, update, asked)
    walk.change(updates=walk.instance.updates + 1)
    walk.answer(answer)


def _judged(walk: SagaWalk, update: DeclaredUpdate, asked: UpdateRequested) -> UpdateAnswer:
    before = walk.instance.updated
    if why := _too_late(walk, update):
        return _refusal(walk, asked, "too_late", why)
    walk.change(updated=tuple({**dict(before), asked.update: asked.body}.items()))
    if sum(len(body) for _, body in walk.instance.updated) > MOST_CHARACTERS:
        walk.change(updated=before)
        return _refusal(walk, asked, "too_large", "the saga would keep too much")
    try:
        reply = walk.certainly(update, ROOT)
    except BuildFailed as failed:
        walk.change(updated=before)
        said = failed.__cause__
        if isinstance(said, Refused):
            return _refusal(walk, asked, said.code, said.detail)
        return _refusal(walk, asked, "failed", str(failed))
    walk.note("updated", asked.update)
    return UpdateAnswer(asked.id, asked.update, reply.body)


def _refusal(walk: SagaWalk, asked: UpdateRequested, code: str, detail: str) -> UpdateAnswer:
    walk.note("update_refused", asked.update, code=code)
    failure = Failure(code=code, detail=detail[:MOST_DETAIL], kind="refused")
    return UpdateAnswer(asked.id, asked.update, failure.to_json(), refused=True)


def _too_late(walk: SagaWalk, update: DeclaredUpdate) -> str:
    """Why nothing may be changed any more: what was sent has used it, or nothing that is still to come will."""
    instance = walk.instance
    if instance.terminal or instance.ending or instance.stage:
        return "the saga is over"
    if instance.backward or instance.terminating:
        return "the saga is being undone" if instance.backward else "the saga is being terminated"
    if used := next((path for path in update.users if walk.state(path).progress != "pending"), ""):
        return f"{used} has begun"
    if update.closing or any(not _has_passed(walk, path) for path in update.users):
        return ""
    return f"the saga has gone past {update.users[0]}"


def _has_passed(walk: SagaWalk, path: str) -> bool:
    """Whether the saga has come to something behind this node, without having come to it."""
    places = {part.path: place for place, part in enumerate(walk.outline.parts)}
    return walk.last_of(places) > places[path.partition(".")[0]]

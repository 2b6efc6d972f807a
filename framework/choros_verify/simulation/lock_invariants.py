"""What must hold of sagas under a lock: read from the store's commits."""

from collections.abc import Iterator, Mapping

from choros.saga.machine.instance import Instance
from choros_verify.simulation.evidence import Evidence


def lock_violations(run: Evidence) -> Iterator[str]:
    """46. From the commit that says that it has its keys, to the one that ends it, undone where it has to be, no other
    saga has one of them; before that it commands nobody; and no two wait for each other. Not where a store steps back
    behind what it acknowledged."""
    if run.were("lose"):
        return
    live: dict[str, Instance] = {}
    for commit in run.commits:
        after = Instance.loads(commit.transition.record.state)
        if after.lock is None or after.terminal:
            live.pop(after.saga_id, None)
            continue
        if after.queued and any(one.channel != "facts" for one in commit.transition.outbox):
            yield f"46: {run.name(after.saga_id)} commands somebody before it has its lock."
        yield from _beside(run, after, live)
        live[after.saga_id] = after
        if _in_a_circle(after.saga_id, live):
            yield f"46: {run.name(after.saga_id)} waits for a saga that waits for it."


def _beside(run: Evidence, after: Instance, live: Mapping[str, Instance]) -> Iterator[str]:
    for other in live.values():
        if other.saga_id != after.saga_id and (both := sorted({*after.locks} & {*other.locks})):
            yield f"46: {run.name(after.saga_id)} has {both[0]}, and so has {run.name(other.saga_id)}."


def _in_a_circle(saga_id: str, live: Mapping[str, Instance]) -> bool:
    """Whoever has a key has it until it ends, so what one was told of another that is not over is still true."""
    seen: set[str] = set()
    following = _waits_for(live[saga_id])
    while following in live and following not in seen:
        seen.add(following)
        following = _waits_for(live[following])
    return saga_id in seen


def _waits_for(instance: Instance) -> str:
    return instance.lock.holder if instance.lock and instance.queued else ""

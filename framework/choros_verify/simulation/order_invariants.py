"""What must hold of the order in which a saga's effects come and go: read from the services' ledgers.

That a part is undone by itself, while the saga goes on, no ledger tells: that alone is taken from the commits."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from choros.saga.machine.instance import Instance
from choros.saga.machine.remains import left_in_doubt, left_standing
from choros.saga.outline import Outline
from choros.saga.paths import declared
from choros.store.sagas import ENDED, Record
from choros.wire.command_key import CommandKey
from choros_verify.exploration.ways import unordered
from choros_verify.simulation.evidence import Evidence
from choros_verify.simulation.keeping import Deed
from choros_verify.simulation.releases import line_of


def order_violations(run: Evidence) -> Iterator[str]:
    """4. What was done last is undone first; 25. past the pivot nothing is undone; 26. past the end nothing happens;
    47. what a terminated saga says that stands does. Not where a store steps back behind what it acknowledged."""
    if run.were("lose"):
        return
    ended, lost = _ended(run), _lost(run)
    for saga_id, effects in by_saga(run).items():
        record = run.records.get(saga_id)
        if record is None:
            continue
        outline, name = run.app.sagas[record.saga, record.saga_version].outline, run.name(saga_id)
        effects = [one for one in effects if _changes(outline, one)]  # else nobody minds when it happens
        skipped = any(of in line_of(saga_id, run.reruns) for of, _ in run.skipped)
        found = [*_past_the_pivot(outline, effects), *_past_the_end(record, effects, ended.get(saga_id))]
        if not skipped:  # what a person answers for was never done
            standing = Instance.loads(record.state).standing
            undone = [one for one in effects if CommandKey.parse(one.what).path not in standing]
            found += _not_standing(run, record, standing, effects)
            found += [*_newest_first(outline, undone, lost[saga_id]), *_terminated(outline, record, effects)]
        yield from (said.format(name) for said in found)


def by_saga(run: Evidence) -> Mapping[str, Sequence[Deed]]:
    """What was done and undone for each saga, in the order of the world; for one that took over what another one had
    done, behind that."""
    found: dict[str, list[Deed]] = defaultdict(list)
    for effect in run.effects:
        if effect.kind != "fact":
            found[effect.saga_id].append(effect)
    lines = {saga_id: line_of(saga_id, run.reruns) for saga_id in run.reruns}
    return found | {saga_id: [one for each in line for one in found[each]] for saga_id, line in lines.items()}


def _changes(outline: Outline, effect: Deed) -> bool:
    leaf = outline.leaves.get(declared(CommandKey.parse(effect.what).path))
    return leaf is None or leaf.changes


def _lost(run: Evidence) -> Mapping[str, set[str]]:
    """The nodes of each saga that were undone by themselves."""
    found: dict[str, set[str]] = defaultdict(set)
    for record in (commit.transition.record for commit in run.commits):
        if '"lost":true' in record.state:
            found[record.saga_id] |= {path for path, one in Instance.loads(record.state).nodes.items() if one.lost}
    return found


def _ended(run: Evidence) -> Mapping[str, float]:
    """When each saga came to its end."""
    ends: dict[str, float] = {}
    for commit in run.commits:
        if commit.transition.record.status in ENDED:
            ends.setdefault(commit.transition.record.saga_id, commit.at)
    return ends


def _newest_first(outline: Outline, effects: Sequence[Deed], lost: set[str]) -> Iterator[str]:
    """Side by side it is what was answered last, which no ledger knows: that is left to `verify`."""
    before = {leaf.path for leaf in outline.commands if leaf.existing}
    done: list[str] = []
    for effect in effects:
        key = CommandKey.parse(effect.what)
        if key.path in before and done:
            yield f"4: {{}} undid {key.path}, there before it, before {', '.join(done)}."
        if effect.kind == "do":
            done += [] if key.path in before else [key.effect]
        elif key.effect in done:
            later = done[done.index(key.effect) + 1 :]
            later = [one for one in later if not _apart(outline, lost, key.path, CommandKey.parse(f"{one}:do").path)]
            if later:
                yield f"4: {{}} undid {key.path} before {', '.join(later)}."
            done.remove(key.effect)


def _apart(outline: Outline, lost: set[str], older: str, newer: str) -> bool:
    """Whether the older one may be undone while the newer one stands: beside it, or in what lost without it. What has
    lost a race may be done so late that what stands behind that is done before it."""
    paths = list(outline.leaves)
    behind = paths.index(declared(older)) > paths.index(declared(newer))
    return unordered(outline, older, newer) or any(
        _within(one, older) > _within(one, newer) or (behind and _within(one, newer) > _within(one, older))
        for one in lost
    )


def _within(node: str, path: str) -> bool:
    return path == node or path.startswith((f"{node}.", f"{node}["))


def _past_the_pivot(outline: Outline, effects: Sequence[Deed]) -> Iterator[str]:
    places: Mapping[str, int] = {path: place for place, path in enumerate(outline.leaves)}
    passed = ""
    for effect in effects:
        path = CommandKey.parse(effect.what).path
        if passed and places[declared(path)] < places[passed]:
            yield f"25: {{}} had the {effect.kind} of {path} after {passed}, its pivot."
        if path in outline.pivots:
            passed = path


def _past_the_end(record: Record, effects: Sequence[Deed], ended: float | None) -> Iterator[str]:
    if ended is None:
        return
    doubtful = left_in_doubt(Instance.loads(record.state)) if record.status == "terminated" else ()
    for effect in effects:
        path = CommandKey.parse(effect.what).path
        if effect.at > ended and path not in doubtful:
            yield f"26: {{}} was {record.status}, and then had the {effect.kind} of {path}."


def _not_standing(run: Evidence, record: Record, standing: Sequence[str], effects: Sequence[Deed]) -> Iterator[str]:
    """What is said to be left standing was never undone, and never will be; unless its service has forgotten it."""
    its = (one.transition for one in run.commits if one.transition.record.saga_id == record.saga_id)
    if not standing or any("has forgotten" in one.history for one in its):
        return
    for path in standing:
        if any((one.kind, CommandKey.parse(one.what).path) == ("undo", path) for one in effects):
            yield f"47: {{}} says that {path} stands, and it was undone."


def _terminated(outline: Outline, record: Record, effects: Sequence[Deed]) -> Iterator[str]:
    """Of what it has done and undone; a record whose older states are stored apart does not tell all."""
    instance = Instance.loads(record.state)
    if record.status != "terminated" or instance.nodes_apart:
        return
    said, doubtful = left_standing(outline, instance), left_in_doubt(instance)
    for path in dict.fromkeys(CommandKey.parse(effect.what).path for effect in effects):
        leaf, own = outline.commanded(path), [one.kind for one in effects if CommandKey.parse(one.what).path == path]
        stands = own.count("do") > own.count("undo")
        if leaf and leaf.changes and not leaf.existing and path not in doubtful and stands != (path in said):
            yield f"47: {{}} was terminated, and says that {path} {'is gone' if stands else 'stands'}."

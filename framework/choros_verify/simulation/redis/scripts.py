"""The scripts of choros as named operations: what each does in Lua, done here in Python. A test holds the two equal.

As in Lua, what was written before a refusal stays."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from choros.store.redis import barrier_scripts
from choros.store.redis import scripts as store_scripts
from choros.store.sagas import LABEL, Channel
from choros_verify.simulation.redis.commands import time_of
from choros_verify.simulation.redis.keyspace import Keyspace, span_of
from choros_verify.simulation.redis.protocol import RedisRefusal, number

LIVE = ("running", "compensating", "parked")
ScriptTwin = Callable[[Keyspace, Sequence[str], Sequence[str]], Any]
"""Given KEYS and ARGV."""


# --- the saga store ---------------------------------------------------------------------------------------------------


def commit(keys: Keyspace, names: Sequence[str], given: Sequence[str]) -> int:
    """One transition, if nothing was committed since it was loaded."""
    prefix, saga_id, expected, previous, version, transition, head, state, kind, group = given[:10]
    started, wake, history, ended = given[10:14]
    old = dict(keys.fields(names[0]))
    if (old.get("version", "0"), old.get("transition", "")) != (expected, previous):
        return 0
    if "version" not in old and keys.type_of(f"{prefix}over:{saga_id}") != "none":
        return 0
    clock = _write_messages(keys, given, old.get("clock"))
    record = {"version": version, "transition": transition, "head": head, "state": state, "kind": kind, "group": group}
    keys.set_fields(names[0], {**record, "clock": str(clock)})
    _expect(keys, prefix, saga_id, (old.get("kind"), kind), wake)
    lived, lives = _lives(old.get("group")), _lives(group)
    if old.get("kind") != kind or lived != lives:
        _count(keys, f"{prefix}live", old["kind"] if lived else None, kind if lives else None)
    if history:
        keys.append(f"{prefix}history:{saga_id}", [history])
    if old.get("group") != group:
        if "group" in old:
            keys.drop_members(f"{prefix}started:{old['group']}", [saga_id])
        keys.set_score(f"{prefix}started:{group}", float(started), saga_id)
        _count(keys, f"{prefix}counts", old.get("group"), group)
    if not lives:
        keys.set_score(f"{prefix}ended", float(ended), saga_id)
    elif "group" in old and not lived:
        keys.drop_members(f"{prefix}ended", [saga_id])
    return 1


def _write_messages(keys: Keyspace, given: Sequence[str], last: str | None) -> int:
    """What has left, what lies beside the record, and what is to leave; the clock after the last of that."""
    prefix, saga_id = given[:2]
    seconds, rest = time_of(keys)
    clock = seconds * 1_000_000 + rest
    clock = max(clock, int(last) + 1) if last else clock
    sent_end = 16 + int(given[14])
    entries_end = sent_end + int(given[15])
    _drop_sent(keys, prefix, saga_id, given[16:sent_end])
    for at in range(sent_end, entries_end, 2):
        name, text = given[at : at + 2]
        if text:
            keys.set_fields(f"{prefix}entries:{saga_id}", {name: text})
        else:
            keys.drop_fields(f"{prefix}entries:{saga_id}", [name])
        if name.startswith(LABEL):
            _label(keys, prefix + name, saga_id, bool(text))
    for at in range(entries_end, len(given), 3):
        channel, message_id, envelope = given[at : at + 3]
        keys.set_fields(f"{prefix}outbox:{saga_id}", {message_id: envelope})
        keys.set_score(f"{prefix}unsent:{channel}", float(clock), f"{saga_id}\0{message_id}")
        clock += 1
    return clock


def _drop_sent(keys: Keyspace, prefix: str, saga_id: str, sent: Sequence[str]) -> None:
    for message_id in sent:
        keys.drop_fields(f"{prefix}outbox:{saga_id}", [message_id])
        for channel in get_args(Channel):
            keys.drop_members(f"{prefix}unsent:{channel}", [f"{saga_id}\0{message_id}"])


def _expect(keys: Keyspace, prefix: str, saga_id: str, kinds: tuple[str | None, str], wake: str) -> None:
    before, kind = kinds
    if before and before != kind:
        keys.drop_members(f"{prefix}due:{before}", [saga_id])
    if wake:
        keys.set_score(f"{prefix}due:{kind}", float(wake), saga_id)
    else:
        keys.drop_members(f"{prefix}due:{kind}", [saga_id])


def _count(keys: Keyspace, name: str, less: str | None, more: str | None) -> None:
    if less is not None:
        keys.add_to_field(name, less, -1)
    if more is not None:
        keys.add_to_field(name, more, 1)


def _lives(group: str | None) -> bool:
    return group is not None and group.rpartition("/")[2] in LIVE


def load(keys: Keyspace, names: Sequence[str], given: Sequence[str]) -> list[Any]:
    """Records, each with what of it is unsent and the entries wanted; what cannot be read is one that says nothing."""
    prefix, found, at = given[0], list[Any](), 1
    for key in names:
        saga_id, wanted = given[at], int(given[at + 1])
        asked = given[at + 2 : at + 2 + wanted] if wanted >= 0 else None
        at += 2 + max(wanted, 0)
        found.append(_loaded(keys, key, prefix, saga_id, asked))
    return found


def _loaded(keys: Keyspace, key: str, prefix: str, saga_id: str, asked: Sequence[str] | None) -> Any:
    try:
        record = keys.fields(key)
        outbox = list(keys.fields(f"{prefix}outbox:{saga_id}"))
        there = keys.fields(f"{prefix}entries:{saga_id}") if asked is None or asked else {}
    except RedisRefusal:
        return ["", "", "", "", [], [], []]
    if "version" not in record:
        return keys.text(f"{prefix}over:{saga_id}")
    entries = there.items() if asked is None else [(name, there.get(name, "")) for name in asked]
    unsent = [f"{prefix}unsent:commands", f"{prefix}unsent:local"]
    commands = [one for one in outbox if any(keys.score(each, f"{saga_id}\0{one}") is not None for each in unsent)]
    parts = [record.get(name) for name in ("version", "transition", "head", "state")]
    facts = [one for one in outbox if one not in commands]
    return [*parts, commands, facts, [part for item in entries for part in item]]


def mark_sent(keys: Keyspace, names: Sequence[str], given: Sequence[str]) -> int:
    """These messages have left."""
    prefix, saga_id, *sent = given
    _drop_sent(keys, prefix, saga_id, sent)
    return 1


def forget(keys: Keyspace, names: Sequence[str], given: Sequence[str]) -> int:
    """One record that has ended is deleted; its start key stays for as long as it is to."""
    prefix, saga_id, rerun, before, keys_before = given
    old, at = dict(keys.fields(names[0])), keys.score(f"{prefix}ended", saga_id)
    if at is None:
        return 0
    beside = [f"{prefix}history:{saga_id}", f"{prefix}entries:{saga_id}"]
    if keys.type_of(names[0]) == "none":
        keys.drop(beside)
        keys.drop_members(f"{prefix}ended", [saga_id])
        return 1
    digest, group = _digest(old.get("head", "")), old.get("group")
    if group is None or "kind" not in old or digest is None or _lives(group) or at >= float(before):
        return -1
    if keys.type_of(f"{prefix}outbox:{saga_id}") != "none" or keys.type_of(f"{prefix}saga:{rerun}") != "none":
        return -1
    labels = [prefix + name for name in keys.fields(beside[1]) if name.startswith(LABEL)]
    keys.drop([names[0], *beside])
    for name in (*labels, f"{prefix}ended", f"{prefix}started:{group}", f"{prefix}due:{old['kind']}"):
        keys.drop_members(name, [saga_id])
    _count(keys, f"{prefix}counts", group, None)
    saga, _, status = group.rpartition("/")
    _keep_key(keys, f"{prefix}over:{saga_id}", f"{digest} {status} {number(at)} {saga}", at, keys_before)
    if float(keys.text(f"{prefix}forgotten") or 0) < at:
        keys.put(f"{prefix}forgotten", number(at))
    return 1


def _label(keys: Keyspace, label: str, saga_id: str, there: bool) -> None:
    if there:
        keys.set_score(label, 0.0, saga_id)
    else:
        keys.drop_members(label, [saga_id])


def _digest(head: str) -> str | None:
    try:
        parts = json.loads(head)
    except ValueError:
        return None
    return parts[3] if isinstance(parts, list) and len(parts) > 3 and isinstance(parts[3], str) else None


def _keep_key(keys: Keyspace, name: str, over: str, at: float, keys_before: str) -> None:
    left = math.ceil((at - float(keys_before)) * 1000)
    if keys_before == "0.0":
        keys.put(name, over)
    elif left > 0:
        keys.put(name, over, lives=left / 1000)


def due(keys: Keyspace, names: Sequence[str], given: Sequence[str]) -> list[Any]:
    """The most overdue timers, claimed where that is asked for; and the server's time."""
    until, limit, claim, passed = given[0], int(given[1]), given[2], given[3:]
    span = span_of("-inf", until)
    found = [
        (score, saga_id, name)
        for name in names
        for score, saga_id in keys.within(name, span)[: limit + len(passed)]
        if saga_id not in passed
    ]
    chosen = sorted(found)[:limit]
    for _, saga_id, name in chosen if claim else ():
        keys.set_score(name, float(claim), saga_id)
    return [*map(str, time_of(keys)), [saga_id for _, saga_id, _ in chosen]]


def put_off(keys: Keyspace, names: Sequence[str], given: Sequence[str]) -> int:
    """A claimed timer, until later."""
    prefix, saga_id, claimed, until = given
    name = f"{prefix}due:{keys.fields(names[0]).get('kind', '')}"
    if keys.score(name, saga_id) == float(claimed):
        keys.set_score(name, float(until), saga_id)
    return 1


# --- the barrier ------------------------------------------------------------------------------------------------------


def prune(keys: Keyspace, names: Sequence[str], given: Sequence[str]) -> int:
    """Rows with a moment of their own, which has passed."""
    prefix, now, most = given
    gone = [key for _, key in keys.within(names[0], span_of("-inf", now))[: int(most)]]
    _drop_rows(keys, prefix, gone, (f"{prefix}unsent", names[0]))
    return len(gone)


def forget_rows(keys: Keyspace, names: Sequence[str], given: Sequence[str]) -> list[int]:
    """The oldest rows, and the horizon moves to the last of them that began; how many, and how many it passed over."""
    prefix, before, skip, most = given
    found = keys.within(names[0], span_of("-inf", f"({before}"))[int(skip) :][: int(most)]
    at, gone = keys.text(names[1]), list[str]()
    for _, key in found:
        if keys.score(f"{prefix}unsent", key) is not None:
            continue
        known, began = _began(keys, f"{prefix}row:{key}")
        if began is not None and (at is None or float(at) < float(began)):
            at = began
        gone += [key] if known else []
    _drop_rows(keys, prefix, gone, (names[0],))
    if gone and at is not None:
        keys.put(names[1], at)
    return [len(gone), len(found) - len(gone)]


def _began(keys: Keyspace, name: str) -> tuple[bool, str | None]:
    """Whether it is known, and when; nothing began that is not there."""
    if keys.type_of(name) == "none":
        return True, None
    try:
        row = json.loads(keys.text(name) or "")
        float(row[4])
    except (RedisRefusal, ValueError, TypeError, LookupError):
        return False, None
    return True, str(row[4])


def _drop_rows(keys: Keyspace, prefix: str, gone: Sequence[str], indexes: Sequence[str]) -> None:
    for key in gone:
        keys.drop([f"{prefix}row:{key}"])
        for index in indexes:
            keys.drop_members(index, [key])


OPERATIONS: Mapping[str, ScriptTwin] = {
    script.sha: operation
    for script, operation in (
        (store_scripts.COMMIT, commit), (store_scripts.LOAD, load), (store_scripts.MARK_SENT, mark_sent),
        (store_scripts.FORGET, forget), (store_scripts.DUE, due), (store_scripts.PUT_OFF, put_off),
        (barrier_scripts.PRUNE, prune), (barrier_scripts.FORGET_ROWS, forget_rows),
    )
}  # fmt: skip
"""By the hash of the script."""
WRITING = frozenset(OPERATIONS) - {store_scripts.LOAD.sha}
"""Those that write."""

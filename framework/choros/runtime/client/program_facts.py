"""A fact of a plain program: known by a key of its own, since a program counts nothing in a database."""

from __future__ import annotations

from collections.abc import Mapping

from choros.app.flow_part import Begun
from choros.app.program import Program
from choros.errors import MessageUnwritable, UsageError, WrongFact
from choros.messages import Fact
from choros.sources import derived_id
from choros.wire.canonical import canonical
from choros.wire.envelope import Envelope, is_sendable, why_unreadable


def program_source(namespace: str, program: str) -> str:
    """Whose the facts of a program are."""
    return f"/{namespace}/program/{program}"


def about_id(source: str, key: str) -> str:
    """The correlation id of all that a program says about one key, where it says no other."""
    return derived_id("choros.stream", source, key)


def check_begins_nothing(fact: Fact, starts: Mapping[str, Begun]) -> None:
    """Raises UsageError where facts of this type begin a flow: without, nobody who takes part would act on it."""
    if (flow := starts.get(fact.type_name)) is not None:
        sentence = f"{type(fact).__name__} begins choreography {flow.name!r}, and is no fact of it without."
        raise UsageError(sentence, "publisher.begin(flow, fact).")


def fact_of_program(
    program: Program, fact: Fact, *, namespace: str, at: float, key: str, seq: int, correlation_id: str,
    own_headers: str,
) -> Envelope:  # fmt: skip
    """A fact of this program, as it travels; raises WrongFact, MessageUnwritable, and UsageError for a key or number
    that cannot be one."""
    check_publishes(program, fact)
    source, body = program_source(namespace, program.name), fact.to_json()
    if why := why_unreadable(body):
        raise MessageUnwritable(f"A {fact.type_name} {why}.")
    envelope = Envelope(
        id=derived_id("choros.fact", source, key, str(seq), fact.type_name, canonical(fact, body)), kind="fact",
        type=fact.type_name, source=source, time=at, data=body, subject=key,
        correlation_id=correlation_id or about_id(source, key), stream=key, seq=seq, own_headers=own_headers,
    )  # fmt: skip
    if not key or seq < 1 or not is_sendable(envelope):
        raise UsageError(f"A fact is not known by the key {key!r} and the number {seq}.", "text, and 1 or more.")
    return envelope


def check_publishes(program: Program, fact: Fact) -> None:
    """Raises WrongFact where it is not declared to."""
    if type(fact) not in program.publishes:
        sentence = f"program {program.name!r} is not declared to publish {type(fact).__name__}."
        raise WrongFact(sentence, f"Program({program.name!r}, publishes=({type(fact).__name__},)).")

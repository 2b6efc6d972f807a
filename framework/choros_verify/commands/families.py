"""`choros verify` of a saga that others are nested in: all of them together."""

from collections.abc import Iterator
from typing import Any

from choros.app.app import App
from choros.saga.saga import Saga
from choros_verify.exploration.family import FamilyExploration, FamilyRules, FamilyStory
from choros_verify.exploration.mutated_families import family_mutants

ACTS = {"cancelled": frozenset({"cancel it", "cancel below"}), "terminated": frozenset({"terminate it"})}
"""What people do, by how it is called: the two together would multiply each other."""


def verified_family(app: App, saga: Saga[Any], start: str, *, mutants: bool) -> tuple[list[str], dict[str, Any]]:
    """What was found, in words and for the report."""
    nested = tuple(app.sagas.values())
    found = {
        name: FamilyExploration(saga, nested, FamilyRules(), acts, start, services=True).run()
        for name, acts in ACTS.items()
    }
    lines = [line for name, one in found.items() for line in _told(saga, name, one)]
    told: dict[str, Any] = {
        "saga": saga.name, "version": saga.version, "held": not any(one.violation for one in found.values()),
        "states": {name: one.states for name, one in found.items()},
    }  # fmt: skip
    if mutants:
        caught = {name: _caught(saga, nested, rules, start) for name, rules in family_mutants().items()}
        lines += [
            f"{'✔' if one else '–'} mutant {name!r}{'' if one else ' breaks nothing here'}"
            for name, one in caught.items()
        ]
        told["mutants"] = caught
    return lines, told


def _told(saga: Saga[Any], acts: str, found: FamilyStory) -> Iterator[str]:
    name = f"saga {saga.name!r} version {saga.version}, with those nested in it, {acts} at any moment"
    if found.violation is None:
        yield f"✔ {name}: {found.states:,} states, every promise kept; it ends {', '.join(sorted(found.ends))}"
        return
    yield f"✖ {name}"
    yield from (f"  {number}. {sentence}" for number, sentence in enumerate(found.story, 1))
    yield f"  So {found.violation}."


def _caught(saga: Saga[Any], nested: tuple[Saga[Any], ...], rules: FamilyRules, start: str) -> bool:
    return FamilyExploration(saga, nested, rules, frozenset({"cancel it"}), start).run().violation is not None

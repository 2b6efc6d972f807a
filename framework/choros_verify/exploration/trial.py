"""All mutants on one saga: each that concerns it must be caught, with a story short enough to be read."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from choros_verify.exploration.bounds import AGED, SHORT, TERMINATING
from choros_verify.exploration.explore import Exploration
from choros_verify.exploration.mutants import MUTANTS, Mutant
from choros_verify.exploration.report import ExplorationReport, report
from choros_verify.exploration.states import Left

LONGEST_STORY = 12


@dataclass(frozen=True)
class Tried:
    """A mutant, and what the exploration made of it."""

    mutant: Mutant
    report: ExplorationReport | None
    """None where the saga has nothing that the rule is about."""

    @property
    def caught(self) -> bool:
        """Whether the exploration tells what goes wrong without the rule (true where the rule does not matter)."""
        return self.report is None or (bool(self.report.violation) and len(self.report.story) <= LONGEST_STORY)

    def lines(self) -> list[str]:
        """As a person reads it."""
        name = f"mutant {self.mutant.name!r}: {self.mutant.what}"
        if self.report is None:
            return [f"- {name} (nothing in this saga is about that)"]
        if not self.caught:
            return [f"✖ {name}", f"  NOT caught in {self.report.states:,} states"]
        told = [f"  {number}. {sentence}" for number, sentence in enumerate(self.report.story, 1)]
        return [f"✔ {name}", *told, f"  So {self.report.violation} (invariant {self.report.invariant})."]

    def to_json(self) -> dict[str, object]:
        """As JSON values."""
        found = self.report.to_json() if self.report else None
        return {"name": self.mutant.name, "rules": list(self.mutant.rules), "caught": self.caught, "report": found}


def try_mutant(mutant: Mutant, exploration: Exploration) -> Tried:
    """Explore the saga without the mutant's rule."""
    if not mutant.applies(exploration.saga):
        return Tried(mutant, None)
    changed = _changed(exploration, mutant)
    return Tried(mutant, report(changed, changed.run()))


def _changed(exploration: Exploration, mutant: Mutant) -> Exploration:
    """The same exploration, under the mutant's protocol, with one of each budget at least."""
    all_steps = frozenset(leaf.path for leaf in exploration.saga.outline.commands)
    names = all_steps if mutant.providers else exploration.bounds.providers
    enough = AGED if mutant.ages else Left(*map(max, exploration.bounds.budgets, SHORT))
    acts = TERMINATING if mutant.terminates else exploration.bounds.acts
    bounds = replace(exploration.bounds, budgets=enough, providers=names, acts=acts)
    return replace(exploration, bounds=bounds, protocol=mutant.under())


def try_mutants(exploration: Exploration) -> Iterator[Tried]:
    """All of them, one after the other."""
    for mutant in MUTANTS:
        yield try_mutant(mutant, exploration)

"""Explore one declared saga: put the parts together, walk, and say what was found."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from choros.app.app import App
from choros.errors import UsageError
from choros.saga.machine.inputs import Answered
from choros.saga.machine.instance import TERMINAL
from choros.saga.outline import Composite
from choros.saga.saga import Saga
from choros_verify.exploration.accounts import Accounts
from choros_verify.exploration.again import successors
from choros_verify.exploration.books import Books
from choros_verify.exploration.bounds import Bounds
from choros_verify.exploration.decisions import Given, Happening, TakenOver
from choros_verify.exploration.examples import reply_examples
from choros_verify.exploration.holds import Violation
from choros_verify.exploration.moves import Moves
from choros_verify.exploration.orchestrator import OrchestratorModel
from choros_verify.exploration.participants import Participants
from choros_verify.exploration.protocol import Protocol
from choros_verify.exploration.search import Found, OnStates, Search
from choros_verify.exploration.states import WorldState
from choros_verify.exploration.unrolled import unrolled
from choros_verify.exploration.wire import Bags
from choros_verify.simulation.invention import invent


@dataclass
class Exploration:
    """One exploration of one saga."""

    saga: Saga[Any]
    bounds: Bounds = field(default_factory=Bounds)
    protocol: Protocol = field(default_factory=Protocol)
    start: str = ""
    """The body of the start message; made up if empty."""
    replies: Mapping[str, str] = field(default_factory=dict)
    """Bodies of replies and signals by type name, where those that are made up will not do."""
    progress: OnStates | None = None
    taken_over: TakenOver = field(default_factory=TakenOver)
    """What it begins with, where it is another one run again."""
    answers: dict[str, Answered] = field(default_factory=dict)
    """What the rows of its participants stand for; who goes on from their books knows them too."""

    def run(self) -> Found[Happening]:
        """Walk; a violation is part of what is found. Raises UsageError where no example message can be made up."""
        if self.saga.outline.nests:
            raise UsageError(f"Others are nested in saga {self.saga.name!r}.", "choros verify APP, which has them all.")
        wire, replies = Bags(), {**reply_examples(self.saga, self.replies), **self.replies}
        start = self.start or invent(self.saga.start).to_json()
        self.explored = saga = unrolled(self.saga, start, replies)
        orchestrator = OrchestratorModel(saga, self.protocol, wire, start, replies, self.taken_over)
        bounds = self.bounds
        participants = Participants(saga, self.protocol, replies, bounds.providers, bounds.refusals, self.answers)
        names = saga.outline.paths
        grow_old = self.bounds.budgets.horizons > 0
        deeds = participants.carry_out, participants.finish
        accounts = Accounts(deeds[0], orchestrator, self.protocol, wire, names, grow_old, deeds[1])
        moves = Moves(orchestrator, accounts, self.protocol, wire, self.bounds.acts, self.bounds.reduce)
        search = Search(
            moves, self.bounds.budgets, most_states=self.bounds.most_states, seed=self.bounds.seed,
            progress=self.progress, reduce=self.bounds.reduce,
        )  # fmt: skip
        first = accounts.number(self.taken_over.books or (Books(),) * len(names))
        found = search.run(WorldState(-1, first))
        if found.complete and not found.violation and accounts.taken_late:
            _late(found, search, accounts.taken_late[0])
        found.ends = _ends(search.worlds(), orchestrator)
        found.notes, found.not_taken = sorted(orchestrator.bugs), _not_taken(saga, orchestrator)
        self.reached = {(orchestrator.stored[w.stored], accounts.books[w.accounts]) for w in search.worlds()[1:]}
        return found

    def run_again(self) -> Found[Happening]:
        """Walk, and then again from each end, from wherever a person may have the saga run again. The states of all
        walks are counted; a story is that of the one that breaks something, from where that begins."""
        whole = self.run()
        for one in successors(self.protocol, self.explored.outline, self.reached):
            if whole.violation or not whole.complete:
                break
            found = replace(self, taken_over=one).run()
            found.states, found.transitions = whole.states + found.states, whole.transitions + found.transitions
            found.seconds, found.ends = whole.seconds + found.seconds, whole.ends + found.ends
            whole = found
        return whole


def _late(found: Found[Happening], search: Search[Happening], taken: tuple[int, Answered]) -> None:
    """A late reply would be acted on, in a state that does come about: none of this walk's stories brings it there, but
    longer ones may."""
    stored, answer = taken
    index = next(index for index, world in enumerate(search.worlds()) if world.stored == stored)
    found.events = [*search.story(index), Happening("decided", (Given((answer,)),))]
    found.violation = Violation("a reply that came too late would change the saga", 8)


def _not_taken(saga: Saga[Any], orchestrator: OrchestratorModel) -> list[str]:
    """The branches of choices that these messages never lead into, so that nothing is known of them."""
    taken = {(path, state.choice) for one in orchestrator.stored for path, state in one.instance.nodes.items()}
    choices = [part for part in saga.outline.nodes.values() if isinstance(part, Composite) and part.questions]
    ways = [(part.path, limb.name) for part in choices for limb in part.limbs]
    return [f"{path} never went by {name}" for path, name in ways if (path, name) not in taken]


def _ends(worlds: Iterable[WorldState], orchestrator: OrchestratorModel) -> Counter[str]:
    """In how many states the saga rests, by status."""
    statuses = (orchestrator.stored[world.stored].instance.status for world in worlds if world.stored >= 0)
    return Counter(status for status in statuses if status in (*TERMINAL, "parked"))


def at_providers(app: App, saga: Saga[Any]) -> frozenset[str]:
    """The steps of a saga whose effect is at a provider, as far as the handlers of this process say."""
    handlers = {name: handler for service in app.services.values() for name, handler in service.handlers.items()}
    sent = ((leaf.path, command.type_name) for leaf in saga.outline.commands for command in leaf.does)
    return frozenset(path for path, name in sent if name in handlers and handlers[name].provider)

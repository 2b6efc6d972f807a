"""Everything that can happen next, in one state of the world.

A state is (the saga in its store, the participants' books, the network, the outbox) and what is left of the budgets.
More reductions, and why nothing is lost by them:

- What a commit is to send leaves with it. That it waits in the outbox for a while looks the same to everybody as a
  message that is slow, but for the timers, which know of unsent commands: so it waits there after a crash, which is
  part of a budget, and only the scan brings it out.
- A crash before a commit changes nothing durable: the message comes again, as if it had not arrived yet.
- A participant that crashes after its commit finds its reply stored and sends it, and its command comes again.
- A state that was seen with at least as much of every budget is not walked again: whatever can happen from here could
  happen from there, as soon or sooner.
- Two inputs of one batch are taken together only where that differs from one after the other. Three or more are not:
  each is applied to its own node, and the walk that sends comes once, after all of them, as it does after two.
- Of several commands in one commit, some may have left before a crash and others not: so it is after the scan of some.
  That one of them left twice is among the states in which all did, as a copy that never arrives.
- The order of a saga's nodes in its record makes no difference but to the order of its facts, which is not held.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from choros.saga.machine.instance import States
from choros_verify.exploration import holds
from choros_verify.exploration.accounts import Accounts
from choros_verify.exploration.books import Carried
from choros_verify.exploration.choices import ActKind, Choice, Choices
from choros_verify.exploration.decisions import Decided, Given, Happening, Stored
from choros_verify.exploration.orchestrator import OrchestratorModel
from choros_verify.exploration.protocol import Protocol
from choros_verify.exploration.settled import is_there, settled_at_end, undone_by_hand
from choros_verify.exploration.states import Left, WorldState
from choros_verify.exploration.violation import hold
from choros_verify.exploration.ways import newer
from choros_verify.exploration.wire import Bags, Ordered, every, one, put

NextState = tuple[Happening, WorldState, Left]


class Moves:
    """Says what can happen. While it does, `event` is what it is trying: a Violation is that event's."""

    def __init__(
        self, orchestrator: OrchestratorModel, accounts: Accounts, protocol: Protocol, wire: Bags,
        acts: frozenset[ActKind], reduce: bool,
    ) -> None:  # fmt: skip
        self._orchestrator = orchestrator
        self._accounts = accounts
        self._protocol = protocol
        self._wire = wire
        self._choices = Choices(orchestrator, protocol, wire, acts)
        self._reduce = reduce
        self._settles = "settle" in acts
        self._outline = orchestrator.saga.outline
        self._checked: set[tuple[int, int]] = set()
        self.event = Happening("decided")

    def after(self, world: WorldState, left: Left) -> Iterator[NextState]:
        """Every state that may be next."""
        if world.stored < 0:
            yield from self._start(world, left)
            return
        for event, after, rest in self._raw(world, left):
            yield event, self._settled(after), rest

    def _raw(self, world: WorldState, left: Left) -> Iterator[NextState]:
        for number in self._wire.numbers(world.network & ~self._wire.replies):
            message = self._wire.messages[number]
            if isinstance(message, Ordered):
                yield from self._carried(world, left, number, message)
        for choice in self._choices.of(world.stored, world.network, self._unsent(world)):
            if choice.decided.retries <= left.retries:
                yield from self._commits(world, left, choice)
        if self._settles:
            yield from self._settled_by_hand(world, left)
        yield from self._others(world, left)

    # --- the orchestrator ---------------------------------------------------------------------------------------------

    def _start(self, world: WorldState, left: Left) -> Iterator[NextState]:
        given = (Given(()),)
        self.event = Happening("decided", given)
        decided = self._orchestrator.begin()
        if not self._protocol.commits_first and left.crashes:
            self.event = Happening("decided", given, None, trouble="crash")
            raise holds.Violation("the saga was accepted, and no store and no queue knows of it: it is lost", 11)
        for event, after, rest in self._commits(world, left, Choice(given, (), decided, wrong=decided.broken)):
            yield event, self._settled(after), rest

    def _commits(self, world: WorldState, left: Left, choice: Choice) -> Iterator[NextState]:
        """The commit, and what may go wrong right after it."""
        decided, messages = choice.decided, choice.messages
        self.event = event = Happening("decided", choice.given, decided, choice.other)
        if choice.wrong:
            raise choice.wrong
        left = left._replace(retries=left.retries - decided.retries)
        self._check(world, decided)
        taken = world._replace(
            stored=decided.number,
            network=world.network - sum(one(number) for number in messages),
            outbox=self._still_wanted(world.outbox, decided) if decided.withdraws else world.outbox,
        )
        sent = taken._replace(network=_all_put(taken.network, decided.sends))
        yield event, sent, left
        if messages and left.duplicates:
            again = sent._replace(network=_all_put(sent.network, messages))
            yield event._replace(trouble="duplicate"), again, left._replace(duplicates=left.duplicates - 1)
        if left.crashes:
            yield from self._crashes(event, taken, left._replace(crashes=left.crashes - 1), messages)

    def _settled_by_hand(self, world: WorldState, left: Left) -> Iterator[NextState]:
        """Whoever looks at what an ended saga has left waits until no more comes, undoes it or not, and says so."""
        instance = self._orchestrator.stored[world.stored].instance
        for leaf, act in settled_at_end(self._outline, instance, self._orchestrator.replies):
            step = self._outline.paths.index(act.step)
            books = self._accounts.books[world.accounts][step]
            if self._comes(world, step) or (act.stands and not is_there(books, leaf)):
                continue
            undone = books if act.stands else undone_by_hand(books, leaf)
            given = Given((act,))
            decided = self._orchestrator.decide(world.stored, given)
            self.event = Happening("decided", (given,), decided)
            if decided is None:
                raise holds.Violation(f"a person has settled {act.step}, and the saga does not say so", 47)
            after = world._replace(accounts=self._accounts.replaced(world.accounts, step, undone))
            yield from self._commits(after, left, Choice((given,), (), decided, wrong=decided.broken))

    def _unsent(self, world: WorldState) -> frozenset[str]:
        """The nodes whose commands wait in the outbox; where only one is under way, no command is told from another."""
        instance = self._orchestrator.stored[world.stored].instance
        if not (world.outbox and instance.accepted):
            return instance.under_way if world.outbox else frozenset()
        waiting = [one for one in self._wire.content(world.outbox) if isinstance(one, Ordered)]
        named = {(self._outline.paths[one.step], one.operation, one.attempt) for one in waiting}
        legs = {path: instance.state(path).leg for path in instance.under_way}
        return frozenset(path for path, leg in legs.items() if leg and (path, leg.operation, leg.attempt) in named)

    def _still_wanted(self, outbox: int, decided: Decided) -> int:
        """Without the commands that no answer is awaited to any more."""
        instance = self._orchestrator.stored[decided.number].instance
        for number in self._wire.numbers(outbox):
            message = self._wire.messages[number]
            assert isinstance(message, Ordered)
            state = instance.state(self._outline.paths[message.step])
            if not (instance.accepted and holds.is_asked(state, message.round, message.operation)):
                outbox &= ~every(number)
        return outbox

    def _crashes(
        self, event: Happening, taken: WorldState, left: Left, messages: tuple[int, ...]
    ) -> Iterator[NextState]:
        """Before the acknowledgement: what came in comes again. Before or after what is to be sent has left."""
        decided = event.decided
        assert decided is not None
        again = taken._replace(network=_all_put(taken.network, messages))
        kept = again._replace(outbox=_all_put(again.outbox, decided.sends))
        self.event = event = event._replace(trouble="crash")
        if not self._protocol.outbox:
            kept = self._forgotten(taken, decided)
        yield event, kept, left
        if decided.sends and self._protocol.outbox:
            twice = kept._replace(network=_all_put(kept.network, decided.sends))
            yield event._replace(trouble="crash, publishes twice"), twice, left

    def _forgotten(self, taken: WorldState, decided: Decided) -> WorldState:
        """No outbox: what was to be sent was in memory only, and so was the timer."""
        hold(not decided.facts, "facts of this commit will never be published", 8)
        stored = self._orchestrator.stored[taken.stored]
        nodes = States(
            (path, replace(state, leg=state.leg and replace(state.leg, due=None)))
            for path, state in stored.instance.nodes.items()
        )
        bare = Stored(replace(stored.instance, nodes=nodes, deadline=None), stored.facts)
        number = self._orchestrator.number(bare)
        if stuck := self._orchestrator.stuck(number):
            raise stuck
        return taken._replace(stored=number)

    # --- participants and the network ---------------------------------------------------------------------------------

    def _carried(self, world: WorldState, left: Left, number: int, ordered: Ordered) -> Iterator[NextState]:
        for carried in self._accounts.carry_out(world.accounts, number, ordered):
            if carried.outcome.crash and not left.crashes:
                continue
            self.event = event = Happening("carried", ordered=ordered, carried=carried)
            hold(not carried.wrong, carried.wrong, 1)
            network = world.network - one(number)
            if carried.outcome.late:
                network = self._passed(network, ordered.step, ordered.attempt)
            after = world._replace(accounts=carried.accounts, network=network)
            if carried.reply >= 0:
                after = after._replace(network=put(network, carried.reply))
            yield from self._acknowledged(event, after, left, number)

    def _acknowledged(self, event: Happening, after: WorldState, left: Left, number: int) -> Iterator[NextState]:
        if event.carried and event.carried.outcome.late:
            number = self._past(number)
        again = after._replace(network=put(after.network, number))
        fewer = left._replace(crashes=left.crashes - 1)
        if event.carried and event.carried.outcome.crash:
            yield event, again, fewer
            return
        yield event, after, left
        if left.duplicates:
            yield event._replace(trouble="duplicate"), again, left._replace(duplicates=left.duplicates - 1)
        if left.crashes:
            yield event._replace(trouble="crash"), again, fewer

    def _others(self, world: WorldState, left: Left) -> Iterator[NextState]:
        """The scan of the outbox, and the passing of time at the participants."""
        for number in self._wire.numbers(world.outbox):
            ordered = self._wire.messages[number]
            assert isinstance(ordered, Ordered)
            network = put(world.network, number)
            after = world._replace(network=network, outbox=world.outbox & ~every(number))
            yield Happening("scanned", ordered=ordered), after, left
        for step in range(len(self._outline.leaves)):
            for carried in self._accounts.finish(world.accounts, step):
                yield self._finished(world, left, step, carried)
            if self._protocol.rows_expire or self._accounts.forgetful(world.accounts):
                yield from self._forget(world, left, step)
            if left.horizons:
                yield from self._grow_old(world, left._replace(horizons=left.horizons - 1), step)

    def _finished(self, world: WorldState, left: Left, step: int, carried: Carried) -> NextState:
        """Somebody outside says what has become of a command: its participant stores that, and answers."""
        self.event = event = Happening("finished", carried=carried, step=step)
        hold(not carried.wrong, carried.wrong, 1)
        return event, world._replace(accounts=carried.accounts, network=put(world.network, carried.reply)), left

    def _grow_old(self, world: WorldState, left: Left, step: int) -> Iterator[NextState]:
        """All that was ever sent for a step is older than what its participant remembers, and some is still coming."""
        coming = self._wire.content(world.network | world.outbox)
        rounds = [one.round for one in coming if isinstance(one, Ordered) and one.step == step]
        books = self._accounts.books[world.accounts][step]
        if rounds and (after := books.forget(max(rounds))) != books:
            accounts = self._accounts.replaced(world.accounts, step, after)
            yield Happening("horizon", step=step), world._replace(accounts=accounts), left

    def _forget(self, world: WorldState, left: Left, step: int) -> Iterator[NextState]:
        """Deadlines pass, and rows that may be forgotten by then are, while a command is on its way to meet that."""
        books = self._accounts.books[world.accounts][step]
        coming = self._wire.content(world.network | world.outbox)
        if not any(isinstance(message, Ordered) and message.step == step for message in coming):
            return
        for until in ("short", "ahead", *(("all",) if self._protocol.rows_expire else ())):
            after = books.pruned(until)
            if after == books:
                continue
            network, outbox = world.network, world.outbox
            if until == "ahead":
                network, outbox = self._passed(network, step), self._passed(outbox, step)
            accounts = self._accounts.replaced(world.accounts, step, after)
            kind: Any = "expired" if until == "all" else "forgotten"
            yield Happening(kind, step=step), WorldState(world.stored, accounts, network, outbox), left

    def _passed(self, bag: int, step: int, attempt: int = 1_000_000) -> int:
        """The bag after the deadlines of a step's commands, up to this attempt, have passed."""
        for number in self._wire.numbers(bag):
            message = self._wire.messages[number]
            if isinstance(message, Ordered) and message.step == step and message.attempt <= attempt:
                past = self._past(number)
                bag = bag if past == number else put(bag & ~every(number), past)
        return bag

    def _past(self, number: int) -> int:
        """The same command after its deadline; an undo has none."""
        message = self._wire.messages[number]
        if isinstance(message, Ordered) and message.operation == "do" and message.deadline == "ahead":
            return self._wire.number(message._replace(deadline="past"))
        return number

    # --- afterwards ---------------------------------------------------------------------------------------------------

    def _settled(self, world: WorldState) -> WorldState:
        """Without the messages that can decide nothing any more; an end is held to its promise."""
        stored, accounts = world.stored, world.accounts
        if (stored, accounts) not in self._checked:
            saga = self._orchestrator.stored[stored]
            holds.choosing(self._outline, self._accounts.books[accounts])
            if saga.instance.terminal:
                holds.ending(self._outline, self._accounts.books[accounts], saga.instance, saga.facts)
            self._checked.add((stored, accounts))
        if not self._reduce:
            return world
        live = self._accounts.live(stored, accounts)
        return WorldState(stored, accounts, world.network & live, world.outbox & live)

    def _check(self, world: WorldState, decided: Decided) -> None:
        """What is sent and published, against what is true."""
        books = self._accounts.books[world.accounts]
        saga = self._orchestrator.stored[decided.number]
        for order in decided.orders:
            leaf = self._outline.commanded(self._outline.paths[order.step])
            undoes = order.operation == "undo" or (order.operation == "do" and leaf is not None and leaf.existing)
            if undoes and self._goes_on(world, order):
                continue
            if order.operation == "do" and not undoes:
                holds.sending_do(self._outline, books, order.step, saga.instance)
            elif undoes:
                path = self._outline.paths[order.step]
                newest = newer(saga.order, path)
                holds.sending_undo(self._outline, books, path, self._coming(world), newest, saga.instance)
        if decided.facts:
            holds.publishing(self._outline, books, decided.facts, saga.instance)

    def _goes_on(self, world: WorldState, order: Ordered) -> bool:
        """Whether it is another attempt of what was begun before: a loser's undo, when the whole saga turns."""
        leg = self._orchestrator.stored[world.stored].instance.state(self._outline.paths[order.step]).leg
        return leg is not None and leg.operation == order.operation

    def _comes(self, world: WorldState, step: int) -> bool:
        """Whether a command is on its way that may still make a difference at this step."""
        books, ways = self._accounts.books[world.accounts][step], self._wire.content(world.network | world.outbox)
        sent = [one for one in ways if isinstance(one, Ordered) and one.step == step]
        return any(not self._accounts.inert(books, one) for one in sent)

    def _coming(self, world: WorldState) -> set[str]:
        """The steps whose effect may still come to stand by a command on its way."""
        books, ways = self._accounts.books[world.accounts], self._wire.content(world.network | world.outbox)
        sent = [one for one in ways if isinstance(one, Ordered) and one.operation == "do"]
        able = (one.step for one in sent if not self._accounts.inert(books[one.step], one))
        return {self._outline.paths[step] for step in able}


def _all_put(bag: int, numbers: Any) -> int:
    for number in numbers:
        bag = put(bag, number)
    return bag

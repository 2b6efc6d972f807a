"""`SagaTest`: a test of a saga that reads as a dialogue. No broker, no store, and a clock that the test moves.

test = SagaTest(order_saga)
test.start(PlaceOrder(...))
test.expect_command(ChargePayment, to="payment").reply(PaymentCharged(...))
test.expect_command(ReserveInventory).refuse("sold_out")
test.expect_compensation(RefundPayment).reply(Done())
test.expect_facts(OrderRejected)
assert test.status == "compensated"
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

from choros.app.fact_start import FactStart
from choros.errors import UpdateRefused
from choros.messages import (
    SYSTEM_REFUSALS,
    UNFINISHED,
    Close,
    Command,
    Done,
    Fact,
    Failure,
    Message,
    NestedCommand,
    Reply,
    Signal,
    Update,
)
from choros.saga.machine.inputs import (
    Answered,
    CancelRequested,
    Decision,
    Event,
    Input,
    LockTold,
    Release,
    Send,
    SettleRequested,
    SignalRequested,
    TerminateRequested,
    TimerFired,
    UpdateRequested,
)
from choros.saga.machine.instance import Instance, Status
from choros.saga.machine.locks import locked
from choros.saga.machine.machine import begin, decide
from choros.saga.nesting import Nesting
from choros.saga.outline import Commanded
from choros.saga.parameters import bare_name
from choros.saga.saga import Saga
from choros.saga.waiting import SignalWait
from choros.wire.command_key import CommandKey, Operation

R = TypeVar("R", bound=Reply)


class SagaTest:
    """One instance of a saga, talked to in place of its participants. Every failure is an AssertionError in words."""

    def __init__(self, saga: Saga[Any]) -> None:
        self.saga = saga
        self.now: float = 0.0
        """Seconds since the test began."""
        self._instance: Instance | None = None
        self._commands: list[Send] = []
        self._facts: list[Release] = []
        self._history: list[Event] = []
        self._replies = 0
        self._started: dict[str, str] = {}
        """The start messages of nested sagas, by the effect in their keys."""
        self._signals = self._updates = 0
        self._types: dict[str, type[Message]] = {one.type_name: one for one in saga.outline.messages}
        self._types[Close.type_name] = Close
        self._types[NestedCommand.type_name] = NestedCommand

    def start(self, message: Message, *, locked_by: str = "") -> None:
        """Start the saga. Where it takes a lock it has it at once; unless another saga has it, which goes by this id:
        then it waits, is refused, or joins that, as it is declared."""
        if self._instance is not None:
            self._fail("A saga can be started once only")
        if not isinstance(message, self.saga.start):
            self._fail(f"The saga starts with {self.saga.start.__name__}, not with {type(message).__name__}")
        lock = locked(self.saga.lock, message, self.now) if self.saga.lock else None
        self._take(begin(self.saga.tree, "saga", message.to_json(), self.now, cause="start", lock=lock))
        if lock and locked_by:
            word: Any = {"queue": "waiting"}.get(lock.when_taken, lock.when_taken)
            self._decide(LockTold(word, lock.keys[0], locked_by))
        elif lock:
            self.take_lock()

    def take_lock(self) -> None:
        """The saga that it waits for is over."""
        if not self.instance.queued or self.instance.terminal:
            self._fail("The saga waits for no lock")
        self._decide(LockTold("taken"))

    def start_by(self, by: FactStart, fact: Fact) -> None:
        """Start the saga as this fact does."""
        message = by.message(fact)
        if message is None:
            self._fail(f"{_named(fact)} starts nothing")
        self.start(message)

    @property
    def instance(self) -> Instance:
        """The state of the saga."""
        if self._instance is None:
            raise AssertionError("The saga was not started: call start() first.")
        return self._instance

    @property
    def status(self) -> Status:
        """Where the saga stands."""
        return self.instance.status

    @property
    def result(self) -> Any:
        """What the saga came to, as `Saga(result=...)` builds it; None while it is not completed, or has none."""
        declared, body = self.saga.outline.result, self.instance.result
        return declared.builds.from_json(body) if declared and body else None

    def expect_command(self, command: type[Command[Any]] | Command[Any], to: str = "", *, at: str = "") -> SentCommand:
        """The saga commands this now: of this type, or equal to this message; to that service, if it is named; `at` a
        step, or in an item: `at="lines[3]"`. Where several are under way, in whatever order they were sent."""
        return self._expect("do", "command", command, to, at)

    def expect_compensation(
        self, command: type[Command[Any]] | Command[Any], to: str = "", *, at: str = ""
    ) -> SentCommand:
        """The saga undoes a step with this now."""
        return self._expect("undo", "compensation", command, to, at)

    def expect_nested(self, saga: Saga[Any], operation: Operation = "do", *, at: str = "") -> SentCommand:
        """The saga begins this nested one now, or tells it to `undo` what it has done, or to end for good (`release`).
        It is answered in the place of that: `reply` with what it comes to, or `refuse` with what it was undone for."""
        return self._expect(operation, f"{operation} of saga {saga.name!r},", saga.start, "", at)

    def expect_facts(self, *facts: type[Fact] | Fact) -> list[Any]:
        """The saga has published exactly these since they were last asked for, in this order; returns them."""
        published = [self._read(fact.type, fact.data) for fact in self._facts]
        if len(published) != len(facts) or not all(map(_fits, published, facts)):
            self._fail(f"Expected {_listed(facts, 'no facts')}, but the saga published {_listed(published, 'none')}")
        self._facts.clear()
        return published

    def expect_nothing(self) -> None:
        """The saga neither commands nor publishes anything that was not asked for."""
        sent = [self._read(send.type, send.data) for send in self._commands]
        published = [self._read(fact.type, fact.data) for fact in self._facts]
        if sent or published:
            self._fail(f"Expected nothing, but the saga sent {_listed([*sent, *published], 'nothing')}")

    def advance(self, duration: timedelta) -> None:
        """Let time pass; timers that come due fire one after the other."""
        end = self.now + duration.total_seconds()
        while (due := self.instance.wake_at) is not None and due <= end:
            self.now = max(self.now, due)
            self._decide(TimerFired())
        self.now = end

    def cancel(self) -> None:
        """Ask for the saga to be undone."""
        self._decide(CancelRequested("cancel"))

    def terminate(self) -> None:
        """End the saga as it is; what is open is closed first, by commands of the type `choros.messages.Close`."""
        self._decide(TerminateRequested("terminate"))

    @property
    def left_standing(self) -> Sequence[str]:
        """The steps whose undo the saga has gone on without."""
        return self.instance.standing

    def settle(self, step: str) -> None:
        """A person has undone by hand what the saga has left standing, or the undo at which it is parked."""
        self._decide(SettleRequested("settle", step, self.instance.state(step).round))

    def signal(self, signal: Signal, *, at: str = "") -> str:
        """Tell the saga something: what it waits for, or will wait for; `at` names the wait where several have its
        type, in an item with its index. Returns what came of it: "signalled", "kept", "not_kept" or "too_late"."""
        return self._tell(signal, at)

    def hear(self, fact: Fact, *, at: str = "") -> str:
        """Have the saga hear of a fact that it waits for, or will wait for. It must be about the key that is waited
        for; the rest is as with `signal`."""
        path = at or "".join(self._waits(fact)[:1])
        leaf, awaits = self.saga.outline.leaf(path), self.instance.state(path).awaits
        if isinstance(leaf, SignalWait) and leaf.of and awaits and awaits != (about := leaf.of(fact)):
            self._fail(f"{_named(fact)} is about {about!r}, and {path} waits for one about {awaits!r}")
        return self._tell(fact, at)

    def _waits(self, told: Message) -> Sequence[str]:
        leaves = self.saga.outline.leaves.values()
        return [one.path for one in leaves if isinstance(one, SignalWait) and one.signal is type(told)]

    def _tell(self, told: Signal | Fact, at: str) -> str:
        waits = self._waits(told)
        path = at or (waits[0] if len(waits) == 1 else "")
        leaf = self.saga.outline.leaf(path)
        if not isinstance(leaf, SignalWait) or leaf.signal is not type(told):
            self._fail(
                f"{_named(told)} is for one of {', '.join(waits) or 'no wait'}, not for {path!r}; name it: at=..."
            )
        self._signals += 1
        given = SignalRequested(f"signal-{self._signals}", path, told.to_json())
        before = len(self._history)
        self._decide(given)
        words = ("signalled", "kept", "not_kept", "too_late")
        return next(event.kind for event in self._history[before:] if event.kind in words)

    def early_answer(self, step: str) -> Any:
        """What `client.query(until=step)` comes back with now: what the step has replied, or a wait was told; None
        where that will not come any more. It fails where whoever asks would still wait."""
        leaf, state = self.saga.outline.leaf(step), self.instance.state(step)
        if not isinstance(leaf, Commanded | SignalWait):
            self._fail(f"The saga has no step {step!r} that replies")
        if not state.reply and self.status == "running":
            self._fail(f"Whoever asks for the reply of {step} still waits")
        kind: type[Message] = leaf.signal if isinstance(leaf, SignalWait) else leaf.reply_of(state.choice)
        return kind.from_json(state.reply) if state.reply else None

    def update(self, update: Update[R]) -> R:
        """Ask the saga for a change, and return what it replies; raises UpdateRefused where it says no."""
        name = bare_name(type(update))
        declared = self.saga.outline.updates.get(name)
        if declared is None or declared.update is not type(update):
            self._fail(f"The saga answers {', '.join(self.saga.outline.updates) or 'no updates'}, not {_named(update)}")
        self._updates += 1
        decision = self._decide(UpdateRequested(f"update-{self._updates}", name, update.to_json()))
        answer = next(iter(decision.answers), None)
        if answer is None or answer.refused:
            failure = Failure.from_json(answer.body) if answer else Failure(code="too_many")
            raise UpdateRefused(f"{name} was refused as {failure.code}: {failure.detail}", code=failure.code)
        reply: Any = update.reply_type.from_json(answer.body)
        told: R = reply
        return told

    def expect_close(self, to: str = "") -> SentCommand:
        """The saga asks this service now to close what it was commanded; `Closed()` says that it never happens."""
        return self._expect("close", "close", Close, to, "")

    def _expect(
        self, operation: Operation, shown: str, wanted: type[Message] | Message, to: str, at: str
    ) -> SentCommand:
        state = f"the saga is {self.status}"
        if not self._commands:
            self._fail(f"Expected the {shown} {_named(wanted)}, but nothing was sent: {state}")
        sent = self._commands if self.instance.accepted else self._commands[:1]
        aimed = (one for one in sent if self._meant(one) == operation and to in ("", one.to) and _is_at(one, at))
        send = next((one for one in aimed if _fits(self._sent(one), wanted)), None)
        if send is None:
            aim = "".join(f" {word} {name!r}" for word, name in (("to", to), ("at", at)) if name)
            told = ", ".join(map(self._said, sent))
            self._fail(f"Expected the {shown} {_named(wanted)}{aim}, but the saga sent {told}")
        self._commands.remove(send)
        return SentCommand(self, send, self._sent(send))

    def _sent(self, send: Send) -> Message:
        """What was sent; to a nested saga its start message, whatever that is told."""
        leaf, message = self.saga.outline.commanded(send.key.path), self._read(send.type, send.data)
        if not isinstance(leaf, Nesting) or not isinstance(message, NestedCommand):
            return message
        body = message.start or self._started[send.key.effect]
        self._started[send.key.effect] = body
        return leaf.action.builds.from_json(body)

    def _said(self, send: Send) -> str:
        what = {"undo": "compensation", "close": "close"}.get(self._meant(send), "command")
        return f"the {what} {_named(self._sent(send))} to {send.to!r}"

    def _meant(self, send: Send) -> Operation:
        """What was there before the saga is undone under the key of a `do`."""
        leaf = self.saga.outline.commanded(send.key.path)
        return "undo" if leaf and leaf.existing and send.key.operation == "do" else send.key.operation

    def _answer(self, send: Send, outcome: Any, data: Message, *refused: Any) -> None:
        self._replies += 1
        reply_id = f"reply-{self._replies}"
        self._decide(Answered(reply_id, send.key, send.attempt, outcome, data.to_json(), *refused))

    def _decide(self, given: Input) -> Decision:
        decision = decide(self.saga.tree, self.instance, [given], self.now)
        self._take(decision)
        return decision

    def _take(self, decision: Decision) -> None:
        self._instance = decision.instance
        self._commands += [send for send in decision.sends if not self._only_asks(send)]
        self._facts += decision.facts
        self._history += decision.events

    def _only_asks(self, send: Send) -> bool:
        """What has become of a command that is finished later: its service says "not yet", and nothing comes of it."""
        leg = self.instance.state(send.key.path).leg
        return leg is not None and leg.unfinished

    def _read(self, type_name: str, data: str) -> Message:
        return self._types[type_name].from_json(data)

    def _fail(self, sentence: str) -> NoReturn:
        history = "\n".join(f"  {_told(event)}" for event in self._history) or "  nothing"
        raise AssertionError(f"{sentence}.\nWhat happened in saga {self.saga.name!r}:\n{history}")


class SentCommand:
    """A command that the saga sent, to be answered in the place of its participant."""

    def __init__(self, test: SagaTest, send: Send, message: Message) -> None:
        self._test = test
        self._send = send
        self.message: Any = message
        """The command itself."""
        self.attempt: int = send.attempt
        self.key: CommandKey = send.key
        self.not_after: float | None = send.not_after
        """Until when somebody may begin it, in seconds since the test began; None for ever."""

    def reply(self, reply: Message | None = None) -> None:
        """It was carried out; `Done()` unless another reply is given. May be repeated, and may come late."""
        answer = reply or Done()
        leaf = self._test.saga.outline.commanded(self.key.path)
        declared = leaf.reply_of() if leaf and leaf.nests else type(self.message).reply_type
        if self._send.key.operation == "do" and not isinstance(answer, declared):
            self._test._fail(f"{_named(self.message)} is answered by {declared.__name__}, not by {_named(answer)}")
        self._test._answer(self._send, "ok", answer)

    def refuse(self, code: str, detail: str = "", *, data: Reply | None = None, undone: Iterable[str] = ()) -> None:
        """It was definitely not carried out, and never will be; `data` is what is given with this code, if anything.
        `undone`: what its participant had done and has taken back itself, newest first."""
        command = type(self.message)
        if not issubclass(command, Command):  # a nested saga may be undone for anything
            self._test._answer(self._send, "refused", Failure(code=code, detail=detail), code)
            return
        if code not in (*command.refusals, *SYSTEM_REFUSALS):
            known = ", ".join(command.refusals) or "nothing"
            self._test._fail(f"{_named(self.message)} may not be refused with {code!r}; it declares {known}")
        declared = command.refusal_data.get(code)
        if data is not None and type(data) is not declared:
            wanted = declared.__name__ if declared else "no data"
            self._test._fail(f"{_named(self.message)} is refused as {code!r} with {wanted}, not with {_named(data)}")
        refusal = data.to_json() if data is not None else ""
        self._test._answer(self._send, "refused", Failure(code=code, detail=detail), code, refusal, tuple(undone))

    def fail(self, code: str) -> None:
        """Its handler raised an exception of this name; the saga may try again."""
        self._test._answer(self._send, "failed", Failure(code=code, kind="failed"), code)

    def finish_later(self) -> None:
        """Its service has taken it, and somebody outside finishes it: then `reply`, `refuse` or `fail`. Asked now and
        then what has become of it, its service says "not yet"; when the last time has come, `expect_command` has it."""
        leaf = self._test.saga.outline.commanded(self.key.path)
        if leaf is None or leaf.finished_within is None or self.key.operation != "do":
            self._test._fail(f"{_named(self.message)} may not be finished later; its step has no finished_within")
        self.fail(UNFINISHED)

    def time_out(self) -> None:
        """Nobody answers, until this attempt's timer has fired; of what is finished later, until its bound."""
        due = self._due()
        if due is None:
            self._test._fail(f"Nobody waits for {_named(self.message)} any more, so it cannot time out")
        self._test.advance(timedelta(seconds=max(0.0, due - self._test.now)))

    def _due(self) -> float | None:
        leg = self._test.instance.state(self.key.path).leg
        awaited = leg is not None and (leg.operation, leg.attempt) == (self.key.operation, self.attempt)
        return (leg.finish_by if leg.unfinished else leg.due) if leg and awaited else None


def _is_at(send: Send, at: str) -> bool:
    return not at or send.key.path == at or send.key.path.startswith(f"{at}.")


def _fits(message: Message, wanted: type[Message] | Message) -> bool:
    return isinstance(message, wanted) if isinstance(wanted, type) else message == wanted


def _named(wanted: type[Message] | Message) -> str:
    return wanted.__name__ if isinstance(wanted, type) else repr(wanted)


def _listed(messages: Sequence[type[Message] | Message], none: str) -> str:
    return ", ".join(map(_named, messages)) or none


def _told(event: Event) -> str:
    """One line of the history."""
    attempt = f"attempt {event.attempt}" if event.attempt else ""
    wait = f"in {event.seconds:g} s" if event.seconds else ""
    undone = f"(undone inside: {', '.join(event.undone)})" if event.undone else ""
    parts = (event.kind.replace("_", " "), event.step, event.operation, attempt, event.code, wait, undone)
    return " ".join(part for part in parts if part)

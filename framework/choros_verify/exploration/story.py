"""A story in words: what happened, one sentence for each event, so that a person can follow it."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from choros.saga.machine.inputs import (
    Answered,
    CancelRequested,
    Input,
    LockTold,
    OrderReceived,
    PauseRequested,
    ResumeRequested,
    SettleRequested,
    SignalRequested,
    TerminateRequested,
    TimerFired,
    UpdateRequested,
)
from choros.saga.machine.inputs import Event as Noted
from choros.saga.outline import Composite
from choros.saga.saga import Saga
from choros_verify.exploration.decisions import Decided, Given, Happening
from choros_verify.exploration.times import Moment
from choros_verify.exploration.wire import Ordered

_CARRIED = {
    "done": "{to} carries {command} out, and answers ok",
    "undone": "{to} carries {command} out, and answers ok",
    "nothing": "{to} gets {command} and finds nothing to undo; it answers so",
    "refused": "{to} refuses {command} for good ({code})",
    "expired": "{command} reaches {to} after its deadline, which refuses it (expired)",
    "cancelled": "{command} reaches {to} after it was undone, which refuses it (cancelled)",
    "forgotten": "{to} gets {command}, which is as old as what it has forgotten; it says so, and does nothing",
    "again": "{to} gets {command} again, does nothing, and answers as before",
    "taken": "{to} takes {command}, to be finished from outside, and says so",
    "goes on": "{to} gets {command} again, which is not finished yet, and says so",
    "failed": "{to} fails to carry {command} out for now, leaves no effect, and says so",
    "failed there": "{to} calls its provider for {command}, which does it, but gets no answer, and says it failed",
    "intent": "{to} notes that it is about to call its provider for {command}, and crashes before the call",
    "called": "{to} calls its provider for {command}, which does it, and crashes before it can note that",
    "unsettled": "{to} first asks its provider about {step}, gets no answer, and says that {command} failed",
    "closed": "{to} closes the key of {command} for good, and says so",
}
_LOCK = {
    "taken": "The saga has its lock now",
    "waiting": "Another saga has its lock, so it waits",
    "refuse": "It does not get its lock",
    "join": "Another saga has its lock, and does what this one was to do",
}
_BEFORE = {
    "settled ": "{to} first settles {step} with its provider; then ",
    "called off ": "{to} asks its provider, which knows nothing of {step}, and calls it off there; then ",
}
_TROUBLE_OF_COMMAND = {
    "": "",
    "duplicate": ". The broker has a second copy of this command",
    "crash": ". It crashes before it acknowledges the command, which will come again",
}
_TROUBLE_OF_DECISION = {
    "": "",
    "duplicate": ". The broker has a second copy of what was received",
    "crash": ". All that is committed, but it crashes before any of it leaves and before it acknowledges what came in",
    "crash, publishes twice": ". It crashes before it notes that this was sent, so it will be sent once more",
}


class Teller:
    """Tells events of one saga."""

    def __init__(self, saga: Saga[Any]) -> None:
        self._outline, self._paths = saga.outline, saga.outline.paths
        self._several = any(isinstance(part, Composite) and not part.questions for part in saga.outline.nodes.values())

    def tell(self, events: Iterable[Happening]) -> list[str]:
        """One sentence each."""
        return [f"{self._sentence(event)}." for event in events]

    def _sentence(self, event: Happening) -> str:
        if event.kind == "decided":
            return self._decided(event)
        if event.kind == "carried":
            return self._carried(event)
        if event.kind == "scanned" and event.ordered:
            return f"The orchestrator, back again, finds {self._command(event.ordered)} unsent and sends it"
        name = self._paths[event.step]
        if event.kind == "finished" and event.carried:
            how = {"done": "it is done", "refused": "it never will be", "failed": "it did not work"}
            return f"Somebody outside tells {self._to(event.step)} of {name} that {how[event.carried.outcome.said]}"
        if event.kind == "forgotten":
            return f"{self._to(event.step)} forgets its rows for {name} whose time has passed"
        if event.kind == "horizon":
            return f"{self._to(event.step)} forgets its old rows for {name}, and knows how far it has forgotten"
        return f"{self._to(event.step)} forgets its rows for {name}"

    # --- participants -------------------------------------------------------------------------------------------------

    def _carried(self, event: Happening) -> str:
        assert event.carried
        assert event.ordered
        outcome = event.carried.outcome
        before = next((one for one in _BEFORE if outcome.said.startswith(one)), "")
        words = (_BEFORE.get(before, "") + _CARRIED[outcome.said.removeprefix(before)]).format(
            to=self._to(event.ordered.step), command=self._command(event.ordered),
            step=self._paths[event.ordered.step], code=outcome.reply.code if outcome.reply else "",
        )  # fmt: skip
        return words + ("" if outcome.crash else _TROUBLE_OF_COMMAND[event.trouble])

    def _to(self, step: int) -> str:
        leaf = self._outline.commanded(self._paths[step])
        return leaf.to if leaf else ""

    def _command(self, ordered: Ordered) -> str:
        return self._name(self._paths[ordered.step], ordered.operation, ordered.attempt)

    def _name(self, step: str, operation: str, attempt: int) -> str:
        """A command by the function that builds it, and its attempt where it is not the first."""
        leaf = self._outline.commanded(step)
        name = leaf.undo.function.__name__ if operation == "undo" and leaf and leaf.undo else step
        kind = {"undo": f"undo of {step}", "close": "close", "do": "do"}[operation or "do"]
        return f"{name} ({kind}{f', attempt {attempt}' if attempt > 1 else ''})"

    # --- the orchestrator ---------------------------------------------------------------------------------------------

    def _decided(self, event: Happening) -> str:
        if event.decided is None and event.trouble:
            return "The orchestrator accepts the start of the saga, and crashes before it commits anything"
        what = "; ".join(self._given(given) for given in event.given)
        if len(event.given) > 1:
            what = f"Two inputs in one batch: {what}"
        if event.decided is None:
            return what
        done = " The orchestrator " + self._done(event.decided)
        if event.other:
            done += f", and from the same version it {self._done(event.other)}"
        return f"{what}.{done}{_TROUBLE_OF_DECISION[event.trouble]}"

    def _done(self, decided: Decided) -> str:
        return "; ".join(self._consequences(decided.events)) or "does nothing"

    def _given(self, given: Given) -> str:
        if not given.inputs:
            return "The saga is started"
        words = " and ".join(self._input(one, given.moment) for one in given.inputs)
        spent = given.moment.used_up and isinstance(given.inputs[0], Answered)
        return words + (", and the time for retries is over" if spent else "")

    def _input(self, given: Input, moment: Moment) -> str:
        match given:
            case Answered():
                return self._answer(given)
            case TimerFired():
                return self._timer(moment) + self._unsent(given.unsent & moment.due)
            case CancelRequested():
                return "Somebody cancels the saga"
            case TerminateRequested():
                return "Somebody terminates the saga"
            case PauseRequested():
                return "Somebody pauses the saga"
            case ResumeRequested():
                return "Somebody resumes the saga"
            case SignalRequested():
                return f"Somebody tells the saga what {given.step} waits for"
            case LockTold():
                return _LOCK[given.word]
            case UpdateRequested():
                return f"Somebody asks the saga for {given.update}"
            case OrderReceived():
                return f"The saga that it is nested in sends its {given.order.operation}"
            case SettleRequested():
                return f"A person says that {given.step} {'stands' if given.stands else 'is undone'}"
            case _:
                verb = "retries" if type(given).__name__ == "RetryRequested" else "skips"
                return f"A person {verb} the parked step {given.step}"

    def _timer(self, moment: Moment) -> str:
        if moment.deadline:
            return "The saga's deadline passes" + (", and a command's timer fires with it" if moment.due else "")
        which = f" of {' and '.join(sorted(moment.due))}" if self._several else ""
        spent = f" for {' and '.join(sorted(moment.used_up))}" if moment.used_up != moment.due else ""
        why = f", and the time for retries is over{spent}" if moment.used_up else ": no answer came in time"
        return f"The timer{which} fires{why}"

    def _unsent(self, unsent: Collection[str]) -> str:
        if not unsent:
            return ""
        return f" ({' and '.join(sorted(unsent)) if self._several else 'its command'} has not left yet)"

    def _answer(self, answer: Answered) -> str:
        command = self._name(answer.key.path, answer.key.operation, 1)
        outcome = {"ok": "ok", "refused": f"refusal ({answer.code})", "failed": "failure"}[answer.outcome]
        attempt = f" of attempt {answer.attempt}" if answer.outcome == "failed" else ""
        return f"The {outcome}{attempt} for {command} arrives"

    def _consequences(self, events: Sequence[Noted]) -> Iterator[str]:
        for event in events:
            name = self._name(event.step, event.operation, event.attempt) if event.step else ""
            words = {
                "sent": f"sends {name}",
                "retry_scheduled": f"will try {name} later",
                "compensating": "turns back",
                "completed": "marks the saga completed",
                "compensated": "marks the saga compensated",
                "parked": f"parks the saga for a person ({event.code})",
                "wanted": "notes that: the pivot is in flight, so it must wait",
                "too_late": "answers that it is too late",
                "fact_published": f"publishes {event.code}",
                "fact_held": f"holds {event.code} back",
                "fact_dropped": f"drops {event.code}",
                "unfinished": f"waits until {name} is finished from outside",
                "asleep": f"sleeps at {event.step}",
                "passed_over": f"passes {event.step} over",
                "terminating": "undoes nothing, and closes what is open",
                "terminated": "marks the saga terminated",
                "closed": f"notes that {name} never happens",
                "left_standing": f"leaves {event.step} standing",
                "fact_withheld": f"withholds {event.code}",
                "by_hand": f"notes that {event.step} is undone",
                "left_in_doubt": f"leaves {event.step} in doubt",
                "woken": f"has slept long enough at {event.step}",
                "awaiting": f"waits to be told at {event.step}",
                "signalled": f"takes it at {event.step}",
                "kept": f"keeps that for {event.step}",
                "lapsed": f"waits no longer at {event.step}",
                "paused": "notes that, and sends nothing more",
                "resumed": "goes on",
                "late_reply": "notes that it came too late",
            }.get(event.kind, "")
            if words:
                yield words

"""An instance whose older states are stored apart, driven without a store."""

from collections.abc import Mapping
from typing import Any

from choros.messages import Failure, Message
from choros.runtime.orchestrator.states import states_and_entries, with_entries
from choros.saga.machine.inputs import Answered, Decision, Input, Lacking
from choros.saga.machine.instance import Instance
from choros.saga.machine.machine import begin, decide
from choros.saga.saga import Saga
from choros.wire.command_key import CommandKey


class Stored:
    """An instance whose older states are stored apart, as the orchestrator does it."""

    def __init__(self, saga: Saga[Any], start: Message) -> None:
        self.saga = saga
        self.loaded: list[int] = []
        """How many entries each decision was given."""
        self.looks: list[int] = []
        """How often each decision had to ask for some."""
        self.written: list[int] = []
        """Characters that each decision wrote."""
        self.entries: dict[str, str] = {}
        self.sent: list[str] = []
        self.count = 0
        self.keep(begin(saga.tree, "s", start.to_json(), 0.0, cause="start"), {})

    def keep(self, decision: Decision, loaded: Mapping[str, str]) -> Decision:
        self.instance, written = states_and_entries(decision.instance, loaded, self.saga.outline.place)
        assert Instance.loads(self.instance.dumps()) == self.instance
        self.entries |= written
        self.written.append(len(self.instance.dumps()) + sum(map(len, written.values())))
        self.sent += [str(send.key) for send in decision.sends]
        return decision

    def give(self, given: Input) -> Decision:
        named: dict[str, str] = {}
        self.looks.append(0)
        while True:
            try:
                decision = decide(self.saga.tree, with_entries(self.instance, named), [given], 1.0)
                self.loaded.append(len(named))
                return self.keep(decision, named)
            except Lacking as lacking:
                if named.keys() >= lacking.names:
                    raise
                self.looks[-1] += 1
                named |= {name: self.entries.get(name, "") for name in lacking.names}

    def answer(self, key: str, reply: Any) -> Decision:
        self.count += 1
        return self.give(Answered(f"r{self.count}", CommandKey.parse(key), 1, "ok", reply.to_json()))

    def refuse(self, key: str, code: str) -> Decision:
        failure = Failure(code=code).to_json()
        return self.give(Answered(f"no {key}", CommandKey.parse(key), 1, "refused", failure, code))

"""What is said between a saga and whom one of its leaves commands: of which types, and what may be refused."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from choros.messages import SYSTEM_REFUSALS, Close, Command, Message, Reply
from choros.wire.command_key import Operation


class Conversation(ABC):
    """With a service; what is said otherwise to another saga stands there."""

    __slots__ = ()
    ends: bool
    """Whether the saga goes on where it is refused."""

    to: str

    @property
    def whom(self) -> str:
        """Whom it commands, as a person would say."""
        return self.to

    @property
    @abstractmethod
    def does(self) -> Sequence[type[Command[Any]]]:
        """The types of the commands, one of which carries it out."""

    @abstractmethod
    def command_of(self, choice: str = "") -> type[Command[Any]]:
        """The type of the command that was chosen; the only one where there was no choice."""

    @abstractmethod
    def undo_of(self, choice: str) -> type[Message]:
        """The same of the command that undoes it."""

    def reply_of(self, choice: str = "") -> type[Message]:
        """The type of the reply to what was chosen."""
        return self.command_of(choice).reply_type

    def sent_as(self, operation: Operation, choice: str, undoing: str) -> type[Message]:
        """The type of what is sent, by what was chosen for it and for its undo."""
        if operation == "close":
            return Close
        return self.undo_of(undoing) if operation == "undo" else self.command_of(choice)

    def closing(self, of: Literal["do", "undo"], *, terminates: bool) -> str:
        """The body of a close; `terminates`: the saga ends as it is, and what cannot be closed is left in doubt."""
        return Close(of=of).to_json()

    def may_refuse(self, code: str, choice: str) -> bool:
        """Whether what was chosen may be refused with this code."""
        return code in (*self.command_of(choice).refusals, *SYSTEM_REFUSALS)

    @property
    def refusals(self) -> Sequence[str]:
        """The codes with which any of its commands may be refused."""
        return list(dict.fromkeys(code for command in self.does for code in command.refusals))

    @property
    def sure_refusals(self) -> Sequence[str]:
        """Those with which it may be refused whatever it chooses."""
        return [code for code in self.refusals if all(code in command.refusals for command in self.does)]

    @property
    def refusal_data(self) -> Mapping[str, type[Reply]]:
        """What is given with these, by code: the same, whichever command was chosen."""
        return {code: data for command in self.does for code, data in command.refusal_data.items()}

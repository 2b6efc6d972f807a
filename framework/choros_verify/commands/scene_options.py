"""What is given to a command on the simulated world, and the scene that it makes of an application."""

import importlib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from choros.app.app import App
from choros.app.service import Service
from choros.cli.given_messages import given_replies, given_starts
from choros.errors import UsageError
from choros.messages import Reply
from choros_verify.simulation.invention import invent
from choros_verify.simulation.scene import Scene
from choros_verify.simulation.script import StoreKind
from choros_verify.simulation.stage import always


@dataclass(frozen=True)
class SceneOptions:
    """The options of a command, as they were given."""

    starts: Sequence[str]
    replies: Sequence[str]
    own: Sequence[str]
    frames: bool
    store: StoreKind | None

    def scene(self, loaded: App) -> Scene:
        """This application made ready; raises UsageError."""
        if not loaded.sagas and not loaded.choreographies:
            sentence = "This application has neither a saga nor a choreography to simulate."
            raise UsageError(sentence, "name one in App(sagas=...), or App(choreographies=...).")
        sagas = [loaded.saga(name) for name in dict.fromkeys(saga.name for saga in loaded.sagas.values())]
        given = given_starts(sagas, self.starts)
        messages = [(saga, given.get(saga.name) or invent(saga.start)) for saga in sagas]
        given_answers = given_replies(sagas, self.replies).values()
        answers = {type(one): always(one) for one in given_answers if isinstance(one, Reply)}
        own = dict(_own(loaded, text) for text in self.own)
        return Scene(loaded, starts=messages, replies=answers, own=own, frames=self.frames, store=self.store)

    def again(self) -> Iterator[str]:
        """The same options once more, for a shell."""
        if self.frames:
            yield "--frames"
        if self.store:
            yield f"--store {self.store}"
        for option, texts in (("--start", self.starts), ("--reply", self.replies), ("--own", self.own)):
            for text in texts:
                yield f"{option} {shlex.quote(text)}"


def _own(loaded: App, text: str) -> tuple[str, Callable[[], Service]]:
    """The name of a service, and what makes it: nothing else is needed than what the application declares, or the
    function that is named hands in what its handlers need."""
    name, _, reference = text.partition("=")
    if not reference:
        return name, lambda: loaded.service(name)
    return name, _function(reference)


def _function(reference: str) -> Callable[[], Service]:
    """Raises UsageError where there is none."""
    module, _, attribute = reference.partition(":")
    try:
        found: Mapping[str, object] = vars(importlib.import_module(module))
    except ImportError as error:
        raise UsageError(f"{reference} cannot be loaded: {error}.", "NAME=package.module:function.") from None
    make = found.get(attribute)
    if not callable(make):
        raise UsageError(f"{reference} is no function.", "name one that returns the Service: package.module:function.")
    return make  # what it makes is checked

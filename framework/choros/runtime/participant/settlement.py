"""Settling: what is outside the database is found out at its provider, under the command's own key.

An `intent` row was committed before the first call, so whoever comes after a crash knows that a call may have happened.
"""

from collections.abc import Sequence
from functools import partial

from choros.app.handler import Handler
from choros.app.later import Later
from choros.app.service import Service
from choros.errors import Refused
from choros.messages import Reply
from choros.runtime.host.admission import Received, understood
from choros.runtime.host.call import ExitWanted
from choros.runtime.host.jobs import Jobs
from choros.runtime.participant.answers import Answer, kept, repeats, token_of
from choros.runtime.participant.execution import Execution
from choros.runtime.participant.verdicts import BrokenBarrier, CarryOut, Settle
from choros.store.barrier import Ok, Raised
from choros.telemetry.context import about
from choros.telemetry.logs import get_logger

log = get_logger(__name__)

_MOST_INTENTS = 6
"""A command meets two intents at most, the `do`'s and its own, and what was taken, to be finished later, once more;
beyond that, rows change behind its back."""


class Settling:
    """Brings commands that met an intent to their answer. The caller holds the effect."""

    def __init__(self, service: Service, execution: Execution, jobs: Jobs) -> None:
        self._service = service
        self._execution = execution
        self._jobs = jobs

    async def carry_out(self, received: Received) -> Answer | Exception:
        """The answer, or what its handler or its provider raised; raises where the database must not be used."""
        for _ in range(_MOST_INTENTS):
            match await self._jobs.insist(self._execution.job(received)):
                case Raised(error):
                    return error
                case Ok(Answer() as answer):
                    return answer
                case Ok(CarryOut()):
                    try:
                        received.outcome = await self._execution.outcome(received)
                    except Exception as error:
                        return error
                case Ok(Settle() as intent):
                    settled = await self._settle(received, intent)
                    if isinstance(settled, Exception) or (settled and settled.reply.key == received.envelope.key):
                        return settled
        return BrokenBarrier()

    async def _settle(self, received: Received, intent: Settle) -> Answer | Exception | None:
        """The answer of what the row is about. None where nobody is there to be asked what became of it."""
        command, own, taken = received, intent.row.key == received.envelope.key, intent.row.state == "unfinished"
        received.asked = received.asked or taken
        try:
            if not own:  # else this attempt asks the same, with a later deadline
                command = understood(kept(intent.row), self._service)
            command.token = command.token or ("" if taken else token_of(intent.row))
            if not (command.provided or taken):  # one that is transactional by now cannot say what its predecessor did
                raise BrokenBarrier
            ways = () if intent.fresh else _ways(command, own=own, taken=taken)
            if taken and not ways:
                return None
            only_asked = taken and own and repeats(intent.row, command.envelope)
            outcome = await self._outcome(command, ways, only_asked=only_asked)
        except Exception as error:
            return error
        ended = await self._jobs.insist(partial(self._execution.finish, command, outcome))
        return ended.value if isinstance(ended, Ok) else ended.error

    async def _outcome(
        self, command: Received, ways: Sequence[Handler], *, only_asked: bool
    ) -> Reply | Refused | Later:
        """What they know of it. Where its saga only asks now and then, a provider that cannot be asked is no failure of
        the command: it goes on."""
        try:
            return await self._execution.outcome(command, ways=ways)
        except Exception as error:
            if not only_asked or isinstance(error, ExitWanted):
                raise
            log.warning("choros.command.not_asked", type=command.envelope.type, error=error, **about(command.envelope))
            return Later()


def _ways(command: Received, *, own: bool, taken: bool) -> Sequence[Handler]:
    """Who may know what became of it. An undo or a close of it wants it no more; an undo is always wanted. What was
    taken, to be finished later, is not begun once more."""
    handler = command.handler
    ways = handler.settling(wanted=own or command.key.operation != "do") if handler else ()
    return [way for way in ways if not (taken and way is handler)]

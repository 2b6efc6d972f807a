"""Dead letters of one saga, for the end of `saga show`: looked for on the side, where that costs little."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from choros.cli.letters import row_of
from choros.cli.waits import on_the_side
from choros.desk.parkings import NONE_BESIDE, Beside, Parkings
from choros.runtime.client.account import Account
from choros.saga.saga import Sagas
from choros.transport.topology import Names


async def letters_beside(broker: str, scope: str, sagas: Sagas, account: Account) -> Beside:
    """Its commands and replies that are parked; none where it has ended, or the broker does not answer soon."""
    namespace, _, application = scope.partition(".")
    saga = sagas.get((account.record.saga, account.record.saga_version))
    if saga is None or account.instance.terminal or urlsplit(broker).scheme == "memory":
        return NONE_BESIDE
    names = Names(namespace)
    services = {leaf.to for leaf in saga.outline.commands}
    queues = [*map(names.service_queue, sorted(services)), names.reply_queue(application)]
    dead, saga_id = [*map(names.dead_queue, queues)], account.record.saga_id
    return await on_the_side(broker, namespace, lambda there: Parkings(there, dead, names).beside(saga_id), NONE_BESIDE)


def beside_lines(application: str, saga_id: str, its: Beside) -> Iterable[str]:
    """For a person."""
    for letter in its.found:
        yield f"dead letter {letter.id}: {letter.type or 'unreadable'}, from {letter.queue}"
        yield f"  {letter.reason}"
    if its.found:
        yield f"  Try: choros dead show {application} {its.found[0].id}"
    for queue, count in its.unread.items():
        yield f"{count:,} messages are parked in {queue}; whether any is of this saga was not looked at"
        yield f"  Try: choros dead list {application} --saga {saga_id}"


def beside_data(its: Beside) -> dict[str, Any]:
    """For programs; nothing where there is nothing."""
    rows = [row_of(letter) for letter in its.found]
    told = {"dead_letters": rows, "not_looked_at": dict(its.unread)}
    return {name: value for name, value in told.items() if value}

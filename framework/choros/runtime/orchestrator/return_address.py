"""Where the replies to an application come to: to the queue of its store, as long as the broker lets us have one."""

from collections.abc import Collection

from choros.app.app import App
from choros.store.sagas import Store
from choros.telemetry.logs import get_logger
from choros.transport.port import NotDeclared, Transport
from choros.transport.reply_queues import reply_queue

log = get_logger(__name__)


class ReturnAddress:
    """Of an application on a store, which must be open by the time that it is asked for."""

    def __init__(self, app: App, store: Store) -> None:
        self._app, self._store = app, store
        self._shared = False

    async def declare(self, transport: Transport) -> None:
        """Make the queues. Whoever may not, and finds no queue of the store, is answered at that of the application, as
        every store was before: where nobody may make queues, nobody brings a second store either."""
        try:
            await transport.declare(self._app.replies_on(self._store.identity, self._store.lasting))
        except NotDeclared as fault:
            self._shared = True
            log.warning("choros.replies.shared", queue=self.queue, reason=fault.sentence)

    @property
    def queue(self) -> str:
        """What commands name in `reply_to`."""
        return self._of("" if self._shared else self._store.identity)

    @property
    def queues(self) -> Collection[str]:
        """All that replies come to: that of the application as well, which older versions of this one have named."""
        return dict.fromkeys([self.queue, self._of("")])

    def _of(self, store: str) -> str:
        return reply_queue(self._app.namespace, self._app.name, store)

"""Sagas that have left something standing, or in doubt, until a person has settled it."""

from collections.abc import Sequence

from choros.runtime.orchestrator.labels import UNSETTLED
from choros.store.sagas import Store

MOST_COUNTED = 1_000


class Unsettled:
    """How many of them there are in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.count = 0
        """At the last look, and no more than `MOST_COUNTED`."""

    async def look(self) -> None:
        """Count again; raises StoreUnreachable. It costs what there is to count."""
        self.count = len(await self._store.labelled(UNSETTLED, limit=MOST_COUNTED))

    @property
    def noticed(self) -> Sequence[str]:
        """A sentence, where there are any."""
        if not self.count:
            return ()
        many = f"{self.count} or more" if self.count == MOST_COUNTED else str(self.count)
        said = "saga has" if self.count == 1 else "sagas have"
        return [f"{many} {said} left something standing or in doubt. Try: choros saga list --unsettled"]

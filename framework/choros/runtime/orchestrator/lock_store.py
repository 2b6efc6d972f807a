"""The store of the rows of locks, for an application whose sagas take some."""

from choros.app.app import App
from choros.errors import UsageError
from choros.store.sagas import Store


def opened_locks(app: App, store: Store | None) -> Store | None:
    """The store of the locks of this application, where it has any; raises UsageError where none was given."""
    if app.locks and store is None:
        raise UsageError(f"The locks of application {app.name!r} have no store.", "locks=: one of their scope.")
    return store if app.locks else None

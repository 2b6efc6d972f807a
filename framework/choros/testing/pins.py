"""A test that no saga was changed under the version that instances under way began with."""

from pathlib import Path

from choros.app.app import App
from choros.saga.pin import changes, loads, pins_of


def assert_pinned(app: App, file: Path) -> None:
    """Fails where the application's sagas are not what the pin file says, and names each difference.

    `choros check APP FILE --pin` writes it."""
    found = list(changes(pins_of(app.sagas.values()), loads(file.read_text(encoding="utf-8"))))
    assert not found, " ".join(found)

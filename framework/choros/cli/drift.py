"""What `choros check` says of declarations that have changed: against a pin file, and against a store's live sagas."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from choros.app.app import App
from choros.cli.options import log_apart, run_until_done
from choros.cli.words import existing, writable
from choros.errors import ChorosError, UsageError
from choros.roles.addresses import Addresses, opened_store
from choros.runtime.orchestrator.stuck import Stranded, stranded
from choros.saga.pin import Pins, changes, dumps, loads, pins_of


def pinned(app: App, reference: str, file: Path | None, *, write: bool) -> None:
    """Write the pin file, or compare the declarations with it if it is there; raises ChorosError where they differ."""
    path = file or Path(f"{app.name}.pins")
    here = pins_of(app.sagas.values())
    there = _read(path, wanted=file is not None and not write)
    if write:
        writable(path)
        path.write_text(dumps(here), encoding="utf-8")
        for sentence in changes(here, there) if there is not None else ():
            print(f"pinned anew: {sentence}")
        print(f"✔ {path} says what {len(here)} sagas are made of")
    elif there is not None and (found := list(changes(here, there))):
        again = f"choros check {shlex.quote(reference)}{f' {shlex.quote(str(file))}' if file else ''} --pin"
        raise ChorosError(
            f"The sagas are not what {path} says: {' '.join(found)}", f"if all of that is meant: {again}."
        )


def _read(path: Path, *, wanted: bool) -> Pins | None:
    try:
        return loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if wanted:
            raise UsageError(f"There is no pin file {path}.", "choros check APP PINS --pin writes one.") from None
        return None
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{path} cannot be read ({type(error).__name__}).", "a pin file.") from None


def stranded_in(app: App, store: str) -> None:
    """Raises ChorosError where live instances would be left alone by this application."""
    log_apart()

    async def look() -> Sequence[Stranded]:
        async with opened_store(Addresses(store=existing(store)), app) as opened:
            return await stranded(app.sagas, opened)

    found = run_until_done(look())
    for kind in found:
        print(f"✖ {kind}")
    if found:
        raise ChorosError(
            f"{sum(kind.count for kind in found)} live sagas would be left alone by this application.",
            "keep the declaration that they began with beside the new one, as a version of its own.",
        )

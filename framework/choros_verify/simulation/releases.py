"""Sagas that are run again, or go on as another version: by which names the services' books have what they did."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from choros.app.app import App
from choros.saga.difference import renamed
from choros.saga.outline import Commanded, Composite
from choros.saga.renaming import Renaming
from choros.saga.saga import Saga
from choros.store.sagas import Record
from choros.wire.command_key import CommandKey
from choros_verify.simulation.keeping import Deed


def run_again_sometimes(app: App, sagas: Sequence[Saga[Any]]) -> Sequence[str]:
    """The answers that a campaign is to have heard sometimes from whoever lets these sagas go on."""
    again = ["rerun again"] if sagas else []
    return [*again, "move moved"] if any(newest(app, saga) is not saga for saga in sagas) else again


def newest(app: App, saga: Saga[Any]) -> Saga[Any]:
    """Its last version."""
    return app.sagas[saga.name, max(version for name, version in app.sagas if name == saga.name)]


def own_steps(saga: Saga[Any]) -> Sequence[str]:
    """The paths from which it may be run again, at the most."""
    return [part.path for part in saga.outline.parts if isinstance(part, Commanded | Composite)]


def names_between(there: Saga[Any], here: Saga[Any]) -> Renaming:
    """What the one calls otherwise than the other, as far as they differ in nothing else."""
    return Renaming(tuple(renamed(here.fingerprint.text, there.fingerprint.text).items()))


def line_of(saga_id: str, reruns: Mapping[str, str]) -> Sequence[str]:
    """The sagas whose effects it has taken over, the first of them first, and itself."""
    line = [saga_id]
    while line[0] in reruns:
        line.insert(0, reruns[line[0]])
    return line


def renamings_of(
    app: App, begun: Mapping[str, Saga[Any]], records: Mapping[str, Record], reruns: Mapping[str, str]
) -> Iterator[tuple[str, Renaming]]:
    """Of each saga that goes on as another version than the first of its line was begun with."""
    for saga_id, record in records.items():
        first = begun.get(line_of(saga_id, reruns)[0])
        if first is not None and record.saga_version != first.version:
            yield saga_id, names_between(first, app.sagas[record.saga, record.saga_version])


def called_now(effect: Deed, renamings: Mapping[str, Renaming]) -> Deed:
    """The same as the saga's declaration calls it by now."""
    names = renamings.get(effect.saga_id)
    if names is None or effect.kind == "fact":
        return effect
    key = CommandKey.parse(effect.what)
    return replace(effect, what=str(replace(key, path=names.here(key.path))))

"""What a command exits with, for every error that there is."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import choros
from choros import errors
from choros.cli import exit_codes
from choros.cli.exit_codes import OF_ERRORS, exit_code
from choros.errors import ChorosError

CODES = {
    1: """ChorosError DeclarationError MessageRejected MessageUnwritable StartConflict FactConflict SagaNotFound
        UpdateRefused
        OutcomePending TokenUnknown TooLate WrongFact Misconfigured BrokerMisconfigured StoreMisconfigured""",
    2: "UsageError UnfitHeaders DeclaredOtherwise",
    4: "Unreachable BrokerUnreachable StoreUnreachable",
}
"""Of the errors that every part of choros raises."""


def everything_is_imported() -> None:
    for module in pkgutil.walk_packages(choros.__path__, "choros."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def tree(error: type[ChorosError]) -> Iterator[type[ChorosError]]:
    yield error
    for kind in error.__subclasses__():
        yield from tree(kind)


def test_every_error_has_a_code() -> None:
    ours = [kind for kind in tree(ChorosError) if kind.__module__ == errors.__name__]
    expected = {name: code for code, names in CODES.items() for name in names.split()}
    assert {kind.__name__: exit_code(kind("It went wrong.")) for kind in ours} == expected


@pytest.mark.slow  # it imports everything
def test_what_a_part_of_choros_raises_has_that_of_its_kind() -> None:
    everything_is_imported()
    own = [kind for kind in tree(ChorosError) if kind.__module__.startswith("choros.")]
    assert len(own) > sum(len(names.split()) for names in CODES.values())
    for kind in own:
        assert exit_code(kind.__new__(kind)) == exit_code(nearest(kind)("It went wrong.")), kind


def nearest(kind: type[ChorosError]) -> type[ChorosError]:
    return next(known for known in kind.__mro__ if known.__module__ == errors.__name__)


def test_what_is_no_error_of_ours_has_failed() -> None:
    assert exit_code(ValueError()) == exit_code(SystemExit(7)) == 1


def test_the_guide_tells_all_of_them() -> None:
    told = re.search(r"^Exit codes: (.*)$", Path("docs/guide.md").read_text(), re.MULTILINE)
    assert told is not None
    codes = {code for _, code in OF_ERRORS} | {value for value in vars(exit_codes).values() if isinstance(value, int)}
    assert codes | {0, 3} == {int(code) for code in re.findall(r"(\d+) ", told[1])}

"""Every page of the cookbook: its code is put into a module as it stands there, and its own tests run; in these each
step is carried out, is refused if it may be, and is not answered, and each wait is told something and lapses."""

import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from choros import Saga
from choros.saga.machine.inputs import Decision
from choros.saga.waiting import SignalWait
from choros.testing import SagaTest

COOKBOOK = Path(__file__).parents[2] / "docs" / "cookbook"
PAGES = {page.stem: page.read_text() for page in sorted(COOKBOOK.glob("*.md")) if page.stem != "README"}
DIALOGUES = [name for name, text in PAGES.items() if "import SagaTest" in text]
TESTS = [(name, test) for name, text in PAGES.items() for test in re.findall(r"^def (test_\w+)", text, re.MULTILINE)]


@cache
def module_of(name: str) -> ModuleType:
    """All the code of a page, one piece behind the other."""
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGES[name], re.DOTALL | re.MULTILINE))
    module = ModuleType(f"cookbook_{name.replace('-', '_')}")
    sys.modules[module.__name__] = module  # where a message's own module is looked for
    exec(compile(code, f"docs/cookbook/{name}.md", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize(("name", "test"), TESTS)
def test_what_a_page_promises(name: str, test: str) -> None:
    getattr(module_of(name), test)()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_tests_and_stands_in_the_index(name: str) -> None:
    assert name in {page for page, _ in TESTS}
    assert f"({name}.md)" in (COOKBOOK / "README.md").read_text()


Way = tuple[str, str, str]
"""A saga, a step of it as it is declared, and what became of that."""


def ways_of(saga: Saga[Any]) -> set[Way]:
    """All that may become of each of its steps and waits."""
    commands = saga.outline.commands
    steps = {leaf.path for leaf in commands}
    done = {leaf.path for leaf in commands if not leaf.existing}
    refusable = {leaf.path for leaf in commands if leaf.nests or any(command.refusals for command in leaf.does)}
    waits = {leaf.path for leaf in saga.outline.leaves.values() if isinstance(leaf, SignalWait)}
    become = {"replied": done, "refused": refusable, "timed_out": steps, "signalled": waits, "lapsed": waits}
    return {(saga.name, path, kind) for kind, paths in become.items() for path in paths}


@pytest.mark.parametrize("name", DIALOGUES)
def test_in_a_page_each_step_is_carried_out_and_refused_and_late(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[Way] = set()
    sagas: dict[str, Saga[Any]] = {}
    take = SagaTest._take

    def noting(test: SagaTest, decision: Decision) -> None:
        sagas[test.saga.name] = test.saga
        happened = (event for event in decision.events if event.operation != "undo")
        seen.update((test.saga.name, re.sub(r"\[\d+\]", "[]", event.step), event.kind) for event in happened)
        take(test, decision)

    monkeypatch.setattr(SagaTest, "_take", noting)
    tests = [getattr(module_of(name), test) for page, test in TESTS if page == name]
    for test in tests:
        if "asyncio" not in test.__code__.co_names:  # the others are no dialogues
            test()
    assert sagas
    assert set[Way]().union(*map(ways_of, sagas.values())) - seen == set()

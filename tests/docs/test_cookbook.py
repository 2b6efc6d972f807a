"""Every page of the cookbook: its code is put into a module as it stands there, and its own tests run."""

import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

COOKBOOK = Path(__file__).parents[2] / "docs" / "cookbook"
PAGES = {page.stem: page.read_text() for page in sorted(COOKBOOK.glob("*.md")) if page.stem != "README"}
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

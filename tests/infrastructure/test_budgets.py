"""tests/budgets.py finds what it is there to find."""

import ast
from pathlib import Path

import pytest

from tests import budgets
from tests.budgets import Report, Source


def source(text: str) -> Source:
    return Source(Path("/planted.py"), text, ast.parse(text))


def lines(count: int) -> str:
    return "".join(f"    x{number} = 1\n" for number in range(count))


def test_a_long_file() -> None:
    report = Report()
    budgets.check_files([source("x = 1\n"), source("x = 1\n"), source("x = 1\n" * 401)], report)
    assert report.violations == ["/planted.py has 401 lines; the budget is 400."]


def test_a_long_function_is_named_and_its_docstring_is_free() -> None:
    report = Report()
    text = "def f():\n    '''One.\n\n    Two.\n    '''\n" + lines(51)
    budgets.check_functions([source(text), source("def g():\n    return 1\n" * 20)], report)
    assert report.violations == ["/planted.py:1 f has 51 lines; the budget is 50."]


def test_functions_that_are_long_on_the_whole() -> None:
    report = Report()
    budgets.check_functions([source(f"def f():\n{lines(21)}" * 3)], report)
    assert len(report.violations) == 2


def test_a_declaration_of_a_port_does_not_count() -> None:
    assert list(budgets.sized_functions(source("def f():\n    '''Say.'''\n    ...\n"))) == []


def test_a_cycle() -> None:
    report = Report()
    budgets.check_imports({"p": {"p.a"}, "p.a": {"p.b"}, "p.b": {"p.a"}}, "p", budgets.IMPORT_CHAIN, report)
    assert report.violations == ["These modules import each other: p.a -> p.b -> p.a."]


def test_a_long_chain_without_the_front_page() -> None:
    length = budgets.IMPORT_CHAIN + 1
    report, modules = Report(), [f"p.m{number:02}" for number in range(length)]
    imports = {one: {other} for one, other in zip(modules, [*modules[1:], "p.end"], strict=True)}
    budgets.check_imports(imports | {"p": set(modules)}, "p", budgets.IMPORT_CHAIN, report)
    assert report.violations == [f"A chain of imports is {length} long, not {length - 1}."]


def test_lines_of_code_are_neither_blank_nor_comments_nor_docstrings() -> None:
    text = "'''M.\n\nMore.'''\n\n# why\nx = [  # what\n    1,\n]\n'''Of x.'''\ny = '''a\nb'''\n"
    assert budgets.code_lines(source(text)) == {6, 7, 8, 10, 11}


def test_the_heart_is_neither_an_adapter_nor_a_face() -> None:
    places = ("saga/saga.py", "transport/port.py", "transport/memory/log.py", "cli/saga.py", "testing/pins.py")
    sources = [Source(budgets.FRAMEWORK / place, "", ast.parse("")) for place in places]
    assert [budgets.is_heart(one) for one in sources] == [True, True, False, False, False]
    assert not budgets.is_heart(Source(budgets.PROOF / "report.py", "", ast.parse("")))


@pytest.mark.slow
def test_a_heart_that_has_grown() -> None:
    report = Report()
    budgets.check_heart([source("x = 1\n" * (budgets.HEART_LINES + 1))], report)
    assert len(report.violations) == 1


def test_a_type_name_that_stands_twice() -> None:
    report = Report()
    other = Source(Path("/other.py"), "", ast.parse("Word = int\nOTHER: int = 1\ndef Word(): ...\n"))
    budgets.check_names([source("class _Word: ...\nOTHER = 1\nclass Single: ...\n"), other], report)
    assert report.violations == ["The type name Word stands twice: /planted.py, /other.py."]


def test_imports_inside_functions_and_for_types_only_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "planted"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "a.py").write_text("def f():\n    from planted import b\n")
    (package / "b.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from planted import a\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert budgets.find_cycle(budgets.read_imports("planted")) == ["planted.a", "planted.b", "planted.a"]


@pytest.mark.parametrize(
    ("text", "violation"),
    [
        ("x = 1\n", "/planted.py:1 the module has no docstring."),
        ("'''M.'''\ndef f(): return 1\n", "/planted.py:2 f has no docstring."),
        ("'''M.'''\nclass C:\n    '''C.'''\n    def m(self): return 1\n", "/planted.py:4 m has no docstring."),
        ("'''M.'''\ndef _f(): return 1\n", None),
        ("'''M.'''\nclass P(Protocol):\n    '''P.'''\n    def m(self):\n        '''M.'''\n"
         "class C:\n    '''C.'''\n    def m(self): return 1\n", None),
    ],
)  # fmt: skip
def test_a_public_name_without_words(text: str, violation: str | None) -> None:
    report = Report()
    budgets.check_words([source(text)], report)
    assert report.violations == ([violation] if violation else [])


def test_a_core_that_reads_the_clock() -> None:
    report = Report()
    budgets.check_core([source("x = datetime.now(UTC)\ny = turn.now\n")], report)
    assert report.violations == ["/planted.py:1 reads the clock; the core may not."]

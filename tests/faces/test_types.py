"""A type checker knows the whole type of every name of the faces, and what is wrong in a program that uses them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faces.test_faces import PINNED

pytestmark = pytest.mark.long
INFERRED = {"choros_verify.Scene", "choros_verify.Tally", "choros_verify.campaign", "choros_verify.shrink"}
"""`Scene.world` hands out the simulated world, to be looked into: what is in it is declared by its values alone."""


@pytest.mark.parametrize("package", ["choros", "choros_verify"])
def test_every_name_has_a_type_that_is_wholly_known(package: str) -> None:
    ours = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it asks `python` where packages are
    ended = subprocess.run(
        [sys.executable, "-m", "pyright", "--verifytypes", package, "--ignoreexternal", "--outputjson"],
        env={**os.environ, "PATH": ours}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    known = {one["name"]: one["isTypeKnown"] for one in json.loads(ended.stdout)["typeCompleteness"]["symbols"]}
    public = {name for name in PINNED if name.partition(".")[0] == package and not name.endswith("__")}
    assert public <= known.keys(), ended.stdout
    assert {name for name in public if not known[name]} == public & INFERRED


PROGRAM = Path(__file__).with_name("typed_program.txt")
CHECKERS = {
    "mypy": ["mypy", "--strict", "--cache-dir", "cache", "program.py"],
    "pyright": ["pyright", "program.py"],
}


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_program_is_typed_from_end_to_end(checker: str, tmp_path: Path) -> None:
    """What is right passes, and each line that is wrong is refused, no other."""
    text = PROGRAM.read_text()
    (tmp_path / "program.py").write_text(text)
    ours = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        [sys.executable, "-m", *CHECKERS[checker]], cwd=tmp_path, env={**os.environ, "PATH": ours},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    refused = {int(line) for line in re.findall(r"program\.py:(\d+)(?::\d+)?(?: -|:) error", ended.stdout)}
    assert refused == {number for number, line in enumerate(text.splitlines(), 1) if "# WRONG" in line}, ended.stdout

"""A type checker knows the whole type of every name of the faces: nothing is left to what it infers."""

from __future__ import annotations

import json
import os
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

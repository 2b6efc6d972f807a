"""The guide names each extra of the package."""

import re
import tomllib

from tests.docs.test_readme import ROOT


def test_the_guide_names_each_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (line,) = [line for line in (ROOT / "docs/guide.md").read_text().splitlines() if "comes with extras" in line]
    assert set(re.findall(r"`([\w-]+)`(?=[ ,.])", line)) == set(project["optional-dependencies"]) - {"dev"}

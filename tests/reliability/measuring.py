"""What is measured for the report, each by a command of its own that writes JSON; kept in build/reliability."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "reliability"
APP = "reference_services.order"
CHOROS = (sys.executable, "-m", "choros")


def _commit() -> str:
    asked = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True)
    return asked.stdout.strip() or "unknown"


@dataclass(frozen=True)
class Measurement:
    """One command."""

    name: str
    command: tuple[str, ...]
    minutes: float
    """About how long it takes on two cores, for whoever waits."""

    @property
    def path(self) -> Path:
        """Where its figures are."""
        return FOLDER / f"{self.name}.json"

    def run(self) -> None:
        """Measure. A violation is a result too, so the exit code is not looked at; a crash leaves no file."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        commit = _commit()  # before: a run takes long, and somebody may commit meanwhile
        subprocess.run([part.replace("FILE", str(self.path)) for part in self.command], cwd=ROOT, check=False)
        if figures := self.figures():
            self.path.write_text(json.dumps({"commit": commit, **figures}, indent=2))

    def figures(self) -> Mapping[str, Any] | None:
        """What was measured; None if it was not."""
        try:
            figures: dict[str, Any] = json.loads(self.path.read_text())
        except FileNotFoundError:
            return None
        return figures


MEASUREMENTS = (
    Measurement("verify", (*CHOROS, "verify", APP, "--mutants", "--real-code", "--json", "FILE"), 5),
    Measurement("verify-long", (*CHOROS, "verify", APP, "--long", "--max-states", "3000000", "--json", "FILE"), 10),
    Measurement("simulation", (*CHOROS, "sim", "run", APP, "--campaigns", "20000", "--json", "FILE"), 5),
    Measurement("mutation", (sys.executable, "tests/mutation/run.py", "--json", "FILE"), 20),
    Measurement("losing", (sys.executable, "-m", "tests.reliability.losing", "FILE"), 1),
    Measurement("chaos", (sys.executable, "-m", "tests.chaos", "--minutes", "15", "--report", "FILE"), 20),
    Measurement(
        "cluster", (sys.executable, "-m", "tests.chaos", "--cluster", "--minutes", "15", "--report", "FILE"), 20
    ),
)

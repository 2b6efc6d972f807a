"""What the configurations lose that are expected to: runs their fault cases, and writes what these recorded as JSON."""

import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = "tests/fault_cases/test_redis_trouble.py"
CASES = {
    "test_a_lost_second_steps_sagas_back_and_doubles_nothing": "Redis `everysec`, the last second of its file lost",
    "test_a_replica_that_lacks_acknowledged_writes_is_promoted": "Redis failover to a replica that lags",
}


def main() -> int:
    """`python -m tests.reliability.losing FILE`: pytest's own exit code."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "junit.xml"
        launcher = (
            sys.executable,
            "tests/servers.py",
            "--",
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-o",
            "junit_family=xunit1",
        )
        tests = [f"{FILE}::{name}" for name in CASES]
        code = subprocess.run([*launcher, "--junitxml", str(found), *tests], cwd=ROOT, check=False).returncode
        rows = [_row(case) for case in ET.parse(found).iter("testcase")]
    Path(sys.argv[1]).write_text(json.dumps({"cases": rows}))
    return code


def _row(case: ET.Element) -> dict[str, object]:
    recorded = {one.get("name", ""): one.get("value", "") for one in case.iter("property")}
    passed = case.find("failure") is None and case.find("error") is None
    return {"case": CASES[case.get("name", "")], "passed": passed, **recorded}


if __name__ == "__main__":
    sys.exit(main())

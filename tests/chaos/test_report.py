"""What a campaign's report must not pass over."""

from pathlib import Path

import pytest

from tests.chaos.report import unheeded


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "Task exception was never retrieved\\nfuture: <Task finished>", "level": "error"}',
        "RuntimeWarning: coroutine 'Relay._drain' was never awaited",
        "Exception in callback Relay._mark()",
    ],
)
def test_an_error_that_nobody_heard_of_is_told(tmp_path: Path, line: str) -> None:
    (tmp_path / "fares-1.log").write_text(f"well\n{line}\n{line} again\n")
    (tmp_path / "cabins-1.log").write_text('{"event": "choros.command.failed", "level": "error"}\n')
    assert unheeded(tmp_path) == {"fares-1": line}

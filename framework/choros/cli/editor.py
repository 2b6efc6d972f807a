"""What a person makes of a body: by values that are set, from a file, or in an editor."""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from choros.cli.bodies import Body
from choros.errors import UsageError

_PREFIX = "body."
_NO_JSON = "The body is no JSON."
_WHOLE = "--body FILE, with all of it."


def edited(body: bytes, sets: Sequence[str], file: str) -> bytes:
    """The body as it shall be; raises UsageError where nobody says how, or nothing has changed."""
    if sets and file:
        raise UsageError("--set and --body do not go together.", "one of them.")
    new = _read(file) if file else _with(body, sets) if sets else _from_editor(body)
    if new == body:
        raise UsageError("Nothing has changed.", "choros dead redrive, which puts it back as it is.")
    return new


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(
            f"--body {file!r}: {error.strerror}.", "a file with the whole body; - for standard input."
        ) from None


def _with(body: bytes, sets: Sequence[str]) -> bytes:
    try:
        found = Body(body)
    except (ValueError, RecursionError):
        raise UsageError(_NO_JSON, _WHOLE) from None
    for one in sets:
        path, equals, value = one.partition("=")
        if not equals or not path.startswith(_PREFIX):
            hint = "--set body.amount=12.50: all else is what its receiver knows it by, so it stays."
            raise UsageError(f"--set {one!r} sets no part of the body.", hint)
        try:
            found.set(path.removeprefix(_PREFIX), value)
        except LookupError as missing:
            raise UsageError(f"--set {one!r}: there is no {missing.args[0]!r} there.", "choros dead show.") from None
    return found.text().encode()


def _from_editor(body: bytes) -> bytes:
    """What a person leaves behind in an editor; the file stays where it was changed, in case it is not taken."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR", "")
    if not editor or not sys.stdin.isatty():
        raise UsageError(
            "Nothing says how to edit it.", "--set body.field=value, --body FILE, or EDITOR on a terminal."
        )
    handle, path = tempfile.mkstemp(".json", "choros-dead-")
    with os.fdopen(handle, "wb") as file:
        file.write(text := _laid_out(body))
    if subprocess.run([*shlex.split(editor), path], check=False).returncode:
        raise UsageError(f"{editor} failed; nothing was done.", "another EDITOR, or --set.")
    new = Path(path).read_bytes()
    if new == text:
        os.unlink(path)
        return body
    print(f"  what you wrote is kept in {path}", file=sys.stderr)
    return new


def _laid_out(body: bytes) -> bytes:
    try:
        return Body(body).text(indent=1).encode() + b"\n"
    except (ValueError, RecursionError):
        return body

"""What README and tutorial show works outside of this repository, from the wheel and nothing else."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.test_readme import ROOT, code_with
from tests.end_to_end.shop import until
from tests.private_servers import die_with_parent

pytestmark = [pytest.mark.long, pytest.mark.servers]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
FILES = dict(re.findall(r"^`([\w/]+\.py)`.*?^```python\n(.*?)^```$", TUTORIAL, re.DOTALL | re.MULTILINE))


def typed(line: str, folder: Path, **more: str) -> str:
    """A line as a person types it in that folder, where nothing of this repository can be imported; what it prints."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS")}
    ended = subprocess.run(
        ["bash", "-c", line], cwd=folder, env={**kept, **more}, capture_output=True, text=True, timeout=280, check=False
    )
    assert ended.returncode == 0, (line, ended.stdout, ended.stderr)
    return ended.stdout


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial's folder, with everything installed by its own lines."""
    outside = tmp_path_factory.mktemp("outside")
    typed(f"{sys.executable} -m pip wheel --quiet --no-deps --wheel-dir . {ROOT}", outside)
    (wheel,) = outside.glob("choros-*.whl")
    inside, *lines = [line.removeprefix("$ ") for line in tutorial("pip install", "console").splitlines()]
    typed(inside, outside)
    for line in lines:
        typed(line, outside / "my_shop", CHOROS=str(wheel))
    for name, code in FILES.items():
        path = outside / "my_shop" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
    return outside / "my_shop"


def tutorial(words: str, language: str) -> str:
    (found,) = [
        code for code in re.findall(rf"^```{language}\n(.*?)^```$", TUTORIAL, re.DOTALL | re.MULTILINE) if words in code
    ]
    return str(found)


@pytest.fixture
def own(shop: Path, tmp_path: Path) -> Path:
    """A user's folder beside it, with the README's files."""
    (tmp_path / ".venv").symlink_to(shop / ".venv")
    (tmp_path / "first_saga.py").write_text(code_with("order_saga = Saga("))
    (tmp_path / "test_first_saga.py").write_text(code_with("SagaTest(order_saga)"))
    return tmp_path


def test_the_first_saga(own: Path) -> None:
    lines = code_with("python first_saga.py", "console").splitlines()
    said = [typed(line.removeprefix("$ "), own) for line in lines]
    assert "o1 completed\n" in said[0] and "o2 compensated\n" in said[0]
    assert "✔ complete: every interleaving" in said[-1]


@pytest.mark.parametrize("here", [True, False], ids=["in the checkout", "in a folder of one's own"])
def test_the_dialogue(own: Path, here: bool) -> None:
    """With pytest and no plugin, as its own lines install it; in the checkout, whose settings are for plugins, too."""
    if here:
        shutil.copy(ROOT / "pyproject.toml", own)
    said = typed(code_with("pytest test_first_saga.py", "console").splitlines()[-1].removeprefix("$ "), own)
    assert " 1 passed in " in said


def test_the_readme_installs_what_it_says(tmp_path: Path, shop: Path) -> None:
    (wheel,) = shop.parent.glob("choros-*.whl")
    typed(code_with('install "$CHOROS"', "sh"), tmp_path, CHOROS=str(wheel))
    assert "Usage: choros" in typed(".venv/bin/choros --help", tmp_path)


def test_the_tutorials_saga(shop: Path) -> None:
    tested, checked, verified = (line.removeprefix("$ ") for line in tutorial("pytest -q", "console").splitlines())
    assert "1 passed" in typed(tested, shop)
    assert "charge: Charge to payment (step), undone by Refund" in typed(checked, shop)
    assert "✔ complete: every interleaving" in typed(verified, shop)


@pytest.fixture
def port(shop: Path, amqp_url: str, namespace: str) -> Iterator[int]:
    """All its processes, started by its own lines; the port of the front."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    script = tutorial("uvicorn", "sh").replace("--port 8000", f"--port {port}")
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "REDIS_URL")}
    with subprocess.Popen(
        ["bash", "-c", f"set -m; trap 'kill $(jobs -p); wait' TERM\n{script}\nwait"],
        cwd=shop, env={**environment, "AMQP_URL": amqp_url, "CHOROS_NAMESPACE": namespace},
        stdout=subprocess.DEVNULL, preexec_fn=die_with_parent,
    ) as processes:  # fmt: skip
        yield port
        processes.terminate()


def asked(url: str, body: str = "", **headers: str) -> dict[str, str]:
    request = urllib.request.Request(url, body.encode() or None, {"content-type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, str] = json.load(answer)
        return found


async def test_its_orders_end_as_it_says(shop: Path, port: int, namespace: str) -> None:
    *orders, listing = tutorial("curl", "console").splitlines()
    sagas: dict[str, str] = {}

    async def up() -> bool:
        with socket.socket() as front:
            return front.connect_ex(("127.0.0.1", port)) == 0

    await until("the front is there", up)
    for line in orders:
        _dollar, _curl, _silent, url, _header, _json, _data, body = shlex.split(line)
        placed = asked(f"http://{url.replace(':8000', f':{port}')}", body)
        sagas[placed["order"]] = placed["saga"]

    async def over() -> bool:
        looked = {order: asked(f"http://127.0.0.1:{port}/orders/{saga}")["status"] for order, saga in sagas.items()}
        return looked == {"o1": "completed", "moon-1": "compensated"}

    await until("both have ended", over)
    said = typed(
        listing.removeprefix("$ "), shop, CHOROS_STORE="sqlite:///orders.db", CHOROS_NAMESPACE=namespace, REDIS_URL=""
    )
    assert "completed" in said and "compensated" in said
    (query,) = re.findall(r"sqlite3 payment.db '(.*?)'", TUTORIAL)
    charges = f"import sqlite3; print(sqlite3.connect('payment.db').execute({query!r}).fetchall())"
    assert typed(f'.venv/bin/python -c "{charges}"', shop) == "[(1, 'o1', 4200)]\n"

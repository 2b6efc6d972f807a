"""The README's code and commands, run as they stand there."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from choros.roles.addresses import open_transport
from choros.transport.port import Published
from choros.transport.topology import topology
from choros.wire.envelope import Envelope
from reference_services.contracts import OrderConfirmed
from tests.patience import LATE, PATIENCE

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BIN = str(Path(sys.executable).parent)


def fences(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def code_with(words: str, language: str = "python") -> str:
    (found,) = [code for code in fences(language) if words in code]
    return found


def run(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command line of the README, with .venv/bin for wherever the tests run from."""
    line = command.replace(".venv/bin", BIN)
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder, with the README's files in it."""
    (tmp_path / "first_saga.py").write_text(code_with("order_saga = Saga("))
    (tmp_path / "test_first_saga.py").write_text(code_with("SagaTest(order_saga)"))
    (tmp_path / "loyalty.py").write_text(code_with('Service("loyalty")'))
    return tmp_path


def test_the_three_declarations_are_those_that_run() -> None:
    assert code_with("all_choreographed = Choreography(") in (ROOT / "examples" / "three_ways.py").read_text()


@pytest.mark.slow
def test_the_first_saga_runs_and_tells(folder: Path) -> None:
    for command in code_with("python first_saga.py", "console").splitlines():
        ended = run(command.removeprefix("$ "), folder)
        assert ended.returncode == 0, ended.stderr
        if "choros" not in command:
            assert "o1 completed" in ended.stdout
            assert "o2 compensated" in ended.stdout
            assert "notified: order_id='o2' reason='damaged_in_transit'" in ended.stdout
        elif "check" in command:
            assert "charge_payment: ChargePayment to payment (step), undone by RefundPayment" in ended.stdout
            assert "OrderRejected (when compensated): notifications" in ended.stdout
        elif "graph" in command:
            assert ended.stdout.startswith("flowchart LR")
        else:
            assert "✔ complete: every interleaving" in ended.stdout


@pytest.mark.slow
def test_the_mistake_is_the_sentence_that_the_readme_shows(folder: Path) -> None:
    saga = folder / "first_saga.py"
    saga.write_text(saga.read_text().replace("        Step(charge_payment", "        # Step(charge_payment"))
    ended = run(".venv/bin/choros check first_saga", folder)
    assert ended.returncode == 1
    (sentence,) = re.findall(r"\*(saga 'order': .*?)\*", README.replace("\n", " "))
    assert sentence in ended.stderr


def lines_of_code(source: str) -> int:
    """Without blank lines, comments and docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [
        node.body[0] for node in ast.walk(ast.parse(source)) if isinstance(node, documented) and ast.get_docstring(node)
    ]
    told = {line for text in texts for line in range(text.lineno, (text.end_lineno or text.lineno) + 1)}
    lines = enumerate(source.splitlines(), 1)
    return sum(number not in told and bool(line.strip()) and line.lstrip()[0] != "#" for number, line in lines)


def test_the_order_saga_is_as_long_as_it_says() -> None:
    ((path, lines),) = re.findall(r"^\| choros: \[`.*?`\]\((.*?)\) \| (\d+) \|", README, re.MULTILINE)
    assert lines_of_code((ROOT / path).read_text()) == int(lines)


@pytest.mark.slow
def test_the_dialogue_passes(folder: Path) -> None:
    _install, command = code_with("pytest test_first_saga.py", "console").splitlines()  # the tests have pytest already
    ended = run(command.removeprefix("$ "), folder)
    assert ended.returncode == 0, ended.stdout
    assert "1 passed" in ended.stdout


@pytest.mark.slow
def test_one_more_subscriber_in_the_demo(folder: Path) -> None:
    ended = run(code_with("demo --plug", "console").strip().removeprefix("$ "), folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    points = len(re.findall(r" earns \d+ points", ended.stdout))
    (completed,) = re.findall(r"(\d+) completed", ended.stdout)
    assert points == int(completed)


async def publish_a_confirmed_order(amqp_url: str, namespace: str) -> None:
    fact = OrderConfirmed(
        order_id="o1", customer="12347", country="Norway", placed_at="2010-12-01T08:26:00", total=4200, tracking="t1"
    )
    envelope = Envelope(
        id="f1", kind="fact", type=fact.type_name, source="/shop/order", time=time.time(), data=fact.to_json(),
        stream="s1", seq=1,
    )  # fmt: skip
    transport = open_transport(amqp_url, namespace, "test")
    await transport.connect()
    await transport.declare(topology(namespace, applications=["order"]))
    assert await transport.publish([envelope]) == [Published.CONFIRMED]
    await transport.close()


def test_one_more_subscriber_is_under_ten_lines_and_hears_of_an_order(
    folder: Path, amqp_url: str, namespace: str
) -> None:
    assert len([line for line in code_with('Service("loyalty")').splitlines() if line.strip()]) < 10
    command = code_with("subscriber:loyalty", "sh").strip().replace(".venv/bin", BIN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "AMQP_URL": amqp_url, "CHOROS_NAMESPACE": namespace}
    environment["PYTHONUNBUFFERED"] = "1"
    with subprocess.Popen(
        ["bash", "-c", f"exec {command}"], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert "choros.subscriber.started" in process.stdout.readline()
            asyncio.run(publish_a_confirmed_order(amqp_url, namespace))
            assert process.stdout.readline() == "12347 earns 42 points\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


@pytest.mark.long
def test_the_demo_on_servers(folder: Path, amqp_url: str, redis_url: str) -> None:
    command = code_with("--kill payment", "sh").strip()
    ended = run(f"{command} --count 25", folder, AMQP_URL=amqp_url, REDIS_URL=redis_url)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "the books balance to the penny" in ended.stdout


@pytest.mark.long
def test_an_application_of_ones_own_as_processes(folder: Path, amqp_url: str, redis_url: str, namespace: str) -> None:
    script = code_with("service:payment", "sh")
    started = time.monotonic()
    ended = run(
        f"set -m; trap 'kill $(jobs -p); wait' EXIT\n{script}", folder,
        AMQP_URL=amqp_url, REDIS_URL=redis_url, CHOROS_NAMESPACE=namespace,
    )  # fmt: skip
    assert " completed" in ended.stdout, ended.stdout + ended.stderr
    assert "o3" in ended.stdout
    assert time.monotonic() - started < 90 + LATE


@pytest.mark.slow
def test_make_demo() -> None:
    """`make demo` as it stands in the README, in the checkout that is being tested."""
    assert "$ make demo\n" in README
    # What `make test ARGS=...` was given is meant for pytest, not for this make inside it.
    given = ("MAKEFLAGS", "MAKEOVERRIDES", "ARGS")
    environment = {name: value for name, value in os.environ.items() if name not in given}
    ended = subprocess.run(
        ["make", "demo"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert timeless(code_with("leaks     0", "text")) in timeless(ended.stdout)
    assert all(len(line) <= 80 for line in ended.stdout.splitlines())


def timeless(text: str) -> str:
    """A text without its times, and the blanks that these move."""
    return re.sub(r" *\d+ ms| *[\d.]+ s \(\d+ a second\)", " some time", text)


def test_every_make_target_it_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([a-z-]+)`", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def until_the_last_news(code: str) -> str:
    """Nobody waits for facts, so the program of the guide may well end before it has heard the last one."""
    code = code.replace(heard := 'print("news:", fact)', f'{heard}\n    _ = "no_room" in str(fact) and over.set()')
    code = code.replace(last := "print((await client.outcome(saga_id)).status)", f"{last}\n        await over.wait()")
    return code.replace("import asyncio\n", "import asyncio\nover = asyncio.Event()\n", 1)


@pytest.mark.slow
def test_the_guide_is_a_program(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "guide.md").read_text()
    code = "\n\n".join(re.findall(r"^```python\n(.*?)^```$", guide, re.DOTALL | re.MULTILINE))
    (tmp_path / "trip.py").write_text(until_the_last_news(code))
    ended = run(".venv/bin/python trip.py", tmp_path)
    assert ended.returncode == 0, ended.stderr
    told = [line for line in ended.stdout.splitlines() if line[:1].isdigit() or line == "completed"]
    assert [line.strip() for line in told if " [" not in line] == [
        "1 completed", "2 completed", "3 compensated no_room", "completed",
    ]  # fmt: skip
    assert "news: trip_id='trip-3' outcome='no_room'" in ended.stdout
    assert run(".venv/bin/choros check trip", tmp_path).returncode == 0


@pytest.mark.slow
def test_the_demo_by_events(folder: Path) -> None:
    ended = run(code_with("--variant choreographed", "console").strip().removeprefix("$ "), folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "leaks     0: the books balance to the penny" in ended.stdout

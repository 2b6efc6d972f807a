"""What the demo prints."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from choros import Addresses, __version__
from choros.cli.progress import Working, wanted
from reference_services.books import Books
from reference_services.demo.shop import Placed
from reference_services.orders import OrderFile
from reference_services.sql import POSTGRESQL


class Report:
    """Writes to a terminal, or plainly to anything else."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._so_far = Working("orders")
        self._tenth = -1

    def _say(self, *lines: str) -> None:
        self._so_far.end()  # a bar would stand in the middle of it
        self._write("".join(line + "\n" for line in lines))

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except BrokenPipeError:  # whoever read has seen enough; the run goes on to its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._out.fileno())

    def opening(self, addresses: Addresses, file: OrderFile, own_processes: bool, folder: Path, variant: str) -> None:
        """Where everything runs, and what was not placed and why."""
        tracked = variant != "choreographed"
        many = f"a process for each part{', two orchestrators' if tracked else ''}"
        layout = many if own_processes else "one process"
        commanded, members = "  commanded, tracked       ", "payment, inventory, shipping"
        members += ", notifications, analytics" if variant == "orchestrated" else ""
        untracked = "mails about what was undone" if variant == "orchestrated" else "notifications, analytics"
        self._say(
            f"choros {__version__} · {layout}",
            f"  broker    {_masked(addresses.broker)}",
            f"  store     {_near_store(_masked(addresses.store))}",
            *([f"{commanded}{members}"] if tracked else [f"  choreographed            {members}, orders"]),
            f"  event-driven, untracked  {untracked}",
        )
        self._left_out(file, folder / "not-placed.txt")
        self._say("", f"placing {len(file.orders)} orders")

    def _left_out(self, file: OrderFile, path: Path) -> None:
        """They may be thousands: a count here, and each with its reason in a file."""
        counts = [f"{len(file.dropped_lines):,} dropped lines"] if file.dropped_lines else []
        counts += [f"{len(file.rejected):,} rejected invoices"] if file.rejected else []
        if counts:
            path.write_text("".join(f"{one}\n" for one in (*file.dropped_lines, *file.rejected)), encoding="utf-8")
            self._say("", f"not placed: {' and '.join(counts)}; each with its reason:", f"  {_near(path)}")

    def progress(self, done: int, total: int) -> None:
        """How far it is: a bar on a terminal, a line for every tenth elsewhere."""
        tenth = done * 10 // total
        if wanted():
            self._so_far.at(done, total)
            if done == total:
                self._so_far.end()
        elif tenth != self._tenth:
            self._tenth = tenth
            self._say(f"  {done}/{total}")

    def end_progress(self) -> None:
        """However the orders ended."""
        self._so_far.end()

    def killed(self, role: str) -> None:
        """A process was killed on purpose."""
        self._say(f"  kill -9 {role}; it is started again")

    def died(self, role: str, how: str) -> None:
        """A process has died of a signal that nobody here has sent."""
        self._say(f"  {role} has died ({how}); it is started again")

    def broker(self, what: str) -> None:
        """The broker went away or came back."""
        self._say(f"  {what}")

    def story(self, lines: Iterable[str]) -> None:
        """One order's timeline."""
        self._say("", *lines)

    def closing(
        self, placed: Sequence[Placed], books: Books, seconds: float, folder: Path, store: str, variant: str
    ) -> None:
        """The outcomes, the books, and what to do next."""
        checked = f"reference_services.{'order' if variant == 'hybrid' else variant}"
        reasons = Counter(one.reason for one in placed if one.status == "compensated")
        statuses = Counter(one.status for one in placed)
        rate = len(placed) / seconds if seconds else 0.0
        self._say(
            "",
            f"outcomes  {len(placed)} orders in {seconds:.1f} s ({rate:.0f} a second): "
            + ", ".join(f"{count} {status}" for status, count in sorted(statuses.items())),
            *(f"          {count:4} undone: {reason}" for reason, count in sorted(reasons.items())),
            "",
            *_lines(books),
            "",
            *(["leaks     0: the books balance to the penny"] if books.balanced else _leaks(books)),
            "",
            f"next      the {'logs' if store.startswith(POSTGRESQL) else 'databases and logs'} are in {_near(folder)}",
            *(_saga_list(store, checked) if variant != "choreographed" else ()),
            f"          {_command()} check {checked}",
            "          README.md: your own saga, and the same on RabbitMQ and Redis",
        )


def _lines(books: Books) -> list[str]:
    held, given_back, released = books.held_pieces, books.given_back_pieces, books.released_pieces
    return [
        "books     read back from the services' own databases",
        f"  ledger    charged {_money(books.charged_pence)} - refunded {_money(books.refunded_pence)}"
        f" = {_money(books.charged_pence - books.refunded_pence)} sold",
        f"            accounts sum to {_money(books.ledger_pence)}",
        f"  stock     held {held} - given back {given_back} - released {released}"
        f" = {held - given_back - released} pieces sold",
        f"  parcels   {books.parcels_delivered} delivered, {books.parcels_refused} refused",
        f"  mails     {books.mails} sent ({books.completed} confirmed, {books.compensated} rejected)",
        f"  revenue   {_money(books.revenue_pence)} by day and country",
    ]


def _saga_list(store: str, checked: str) -> list[str]:
    """Only a file outlives the run: on a server it is tidied away."""
    if not store.startswith("sqlite:///"):
        return []
    return [
        f"          {_command()} saga list {checked} \\",
        f"            --store {_near_store(store)}",
    ]


def _near_store(address: str) -> str:
    """A file as it is written from here."""
    path = address.removeprefix("sqlite:///")
    return address if path == address else f"sqlite:///{_near(Path(path))}"


def _command() -> str:
    """How `choros` can be called from here."""
    if shutil.which("choros"):
        return "choros"
    beside = Path(sys.executable).with_name("choros")
    return _near(beside) if beside.exists() else f"{_near(Path(sys.executable))} -m choros"


def _leaks(books: Books) -> list[str]:
    return [f"leaks     {len(books.leaks)}:", *(f"  ✖ {leak}" for leak in books.leaks)]


def _money(pence: int) -> str:
    return f"£{pence / 100:,.2f}"


def _masked(url: str) -> str:
    return re.sub(r"//[^@/]*@", "//…@", url)


def _near(folder: Path) -> str:
    """The folder as it is written from here, if it lies below."""
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)

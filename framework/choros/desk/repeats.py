"""A history in which many attempts went the same way: told once, with their number."""

from collections.abc import Iterable, Iterator

from choros.runtime.orchestrator.history import Happened

FAILURES = ("timed_out", "failed", "undeclared_refusal")
_OF_AN_ATTEMPT = (*FAILURES, "sent", "retry_scheduled")
MOST = 3
"""So many attempts that failed alike are told one by one."""


def folded(history: Iterable[tuple[Happened, float]]) -> Iterator[tuple[Happened, float, int]]:
    """Each event with its moment, and how often it happened: of more than `MOST` attempts of one command that failed in
    the same words, one after another, only the last is left."""
    run: list[tuple[Happened, float]] = []
    for event, at in history:
        if run and not _goes_on(run, event):
            yield from _told(run)
            run = []
        run.append((event, at))
    yield from _told(run)


def _goes_on(run: list[tuple[Happened, float]], event: Happened) -> bool:
    if event.kind not in _OF_AN_ATTEMPT or event.act or run[0][0].kind not in _OF_AN_ATTEMPT:
        return False
    last = next((one for one, _ in reversed(run) if one.kind in FAILURES), None)
    same_command = _command(run[0][0]) == _command(event)
    return same_command and (event.kind not in FAILURES or last is None or _words(last) == _words(event))


def _command(event: Happened) -> tuple[str, str]:
    return event.step, event.operation


def _words(event: Happened) -> tuple[str, str]:
    return event.kind, event.code


def _told(run: list[tuple[Happened, float]]) -> Iterator[tuple[Happened, float, int]]:
    failures = [index for index, (event, _) in enumerate(run) if event.kind in FAILURES]
    if len(failures) <= MOST:
        yield from ((event, at, 1) for event, at in run)
        return
    first, last = failures[0], failures[-1]
    yield from ((event, at, 1) for event, at in run[:first])
    yield *run[last], len(failures)
    yield from ((event, at, 1) for event, at in run[last + 1 :])

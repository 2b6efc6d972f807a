"""Keys are written in one way only; ids are unique, ordered in time, and of the version that they claim."""

import contextlib
import time
import uuid
from contextvars import copy_context

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from choros.errors import MessageRejected
from choros.sources import Source, derived_id, fresh_id, saga_id_for, source
from choros.wire.command_key import CommandKey

PARTS = st.from_regex(r"[A-Za-z0-9_.\[\]-]{1,40}", fullmatch=True)
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@UNHURRIED
@given(PARTS, PARTS, st.integers(1, 999_999), st.sampled_from(["do", "undo", "close"]))
@pytest.mark.slow
def test_a_key_survives_being_written(saga_id: str, path: str, round_: int, operation: str) -> None:
    text = f"{saga_id}:{path}:{round_}:{operation}"
    key = CommandKey.parse(text)
    assert (str(key), key.round, key.effect) == (text, round_, f"{saga_id}:{path}:{round_}")
    assert key.of("undo").effect == key.effect


@UNHURRIED
@given(st.text(max_size=40) | st.from_regex(r"[a:0-9]{0,20}:(do|undo|close)", fullmatch=True))
def test_whatever_is_read_as_a_key_is_written_like_that(text: str) -> None:
    with contextlib.suppress(MessageRejected):
        assert str(CommandKey.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "a:b:1", "a:b:1:do:x", "a:b:0:do", "a:b:01:do", "a:b:1000000:do", "a:b:-1:do", "a:b:1:redo"),
        *("a:b:\u0661:do", "a b:c:1:do", ":b:1:do", "a::1:do", "a:b:1:do\n", "a:b\n:1:do", "4111 1111:b:1:do"),
        f"{'a' * 201}:b:1:do",
    ],
)
def test_what_is_no_key_is_rejected_without_being_repeated(text: str) -> None:
    with pytest.raises(MessageRejected) as caught:
        CommandKey.parse(text)
    assert str(caught.value) == "The idempotency key is not saga_id:path:round:operation."


def test_fresh_ids_are_uuids_of_version_7_in_order_of_time() -> None:
    before = time.time_ns() // 1_000_000
    ids = [uuid.UUID(fresh_id()) for _ in range(2_000)]
    after = time.time_ns() // 1_000_000
    assert {(each.version, each.variant) for each in ids} == {(7, uuid.RFC_4122)}
    moments = [each.int >> 80 for each in ids]
    assert moments == sorted(moments)
    assert before <= moments[0] <= moments[-1] <= after
    assert len(set(ids)) == len(ids)


class At(Source):
    """Stands still."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def now(self) -> float:
        return self.seconds


def test_a_later_millisecond_sorts_later() -> None:
    def ids_at(seconds: float) -> list[str]:
        source.set(At(seconds))
        return [fresh_id() for _ in range(50)]

    first, second = (copy_context().run(ids_at, 1_700_000_000.0 + after) for after in (0.0, 0.001))
    assert max(first) < min(second)


def test_derived_ids_are_the_same_everywhere() -> None:
    assert saga_id_for("order", "o1") == derived_id("choros.saga", "order", "o1")
    assert saga_id_for("order", "o1") == "32520c10-a6c0-887c-b6c1-06ca2332bfe6"
    made = uuid.UUID(saga_id_for("order", "o1"))
    assert (made.version, made.variant) == (8, uuid.RFC_4122)


@UNHURRIED
@given(st.lists(st.text(st.characters(exclude_characters="\x00", codec="utf-8")), min_size=1, max_size=3, unique=True))
def test_other_parts_make_another_id(parts: list[str]) -> None:
    assert derived_id(*parts) == derived_id(*parts)
    assert derived_id(*parts) != derived_id(*parts, "")
    assert len(parts) == 1 or derived_id(*parts) != derived_id(*reversed(parts)) or parts == parts[::-1]

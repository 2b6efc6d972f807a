"""A step that is finished later, in every interleaving: early, late, twice, beside its undo, and after its bound."""

import pytest

from choros_verify import Bounds
from choros_verify.exploration.explore import Exploration
from choros_verify.exploration.report import report
from tests.saga.test_finished_later import saga


@pytest.mark.long
def test_whenever_somebody_finishes_it_there_is_one_effect_or_none() -> None:
    exploration = Exploration(saga(), Bounds())
    found = exploration.run()
    assert found.complete, report(exploration, found)
    assert not found.violation, report(exploration, found).story
    assert set(found.ends) == {"completed", "compensated", "parked"}

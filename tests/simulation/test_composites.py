"""Sagas with nodes in their nodes, through the real runtime in the simulated world."""

import pytest

from choros_verify import simulate
from tests.exploration.composites import app


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 53, 78])
def test_whatever_strikes_keeps_every_promise(seed: int) -> None:
    """With 3 what is side by side is undone in another order than it was done in; the others meet another release."""
    run = simulate(app, seed)
    assert not run.violations

"""For tests of your own sagas. The suites for adapters of your own are in `choros.testing.conformance`."""

from choros.testing.dialogue import SagaTest, SentCommand
from choros.testing.flow_dialogue import FlowTest, HeardFact
from choros.testing.pins import assert_pinned

__all__ = ["FlowTest", "HeardFact", "SagaTest", "SentCommand", "assert_pinned"]

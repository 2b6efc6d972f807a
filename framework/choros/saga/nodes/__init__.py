"""What a saga is made of: one file for each kind of node, and here the list of those that a user may write."""

from choros.saga.nodes.branch import Branch
from choros.saga.nodes.check import Check
from choros.saga.nodes.each import ForEach
from choros.saga.nodes.existing import Existing
from choros.saga.nodes.local import Local
from choros.saga.nodes.nested import Nested
from choros.saga.nodes.parallel import Parallel
from choros.saga.nodes.pivot import Pivot
from choros.saga.nodes.publish import Publish
from choros.saga.nodes.repeat import Repeat
from choros.saga.nodes.retriable import Retriable
from choros.saga.nodes.scope import Scope
from choros.saga.nodes.sleep import Sleep
from choros.saga.nodes.step import Step
from choros.saga.nodes.wait import Reminder, Wait
from choros.saga.nodes.when import When

__all__ = [
    "Branch",
    "Check",
    "Existing",
    "ForEach",
    "Local",
    "Nested",
    "Parallel",
    "Pivot",
    "Publish",
    "Reminder",
    "Repeat",
    "Retriable",
    "Scope",
    "Sleep",
    "Step",
    "Wait",
    "When",
]

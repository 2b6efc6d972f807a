"""How long a test waits. Neither is reached by a test that passes, however busy the machine is."""

import os

PATIENCE = float(os.environ.get("CHOROS_PATIENCE", "90"))
"""Seconds to wait for what must come."""
LATE = 30.0
"""Seconds that a busy machine may add to what has a bound of its own."""

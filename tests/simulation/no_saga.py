"""An application that only has a service."""

from choros import App
from tests.simulation.library import desk

app = App("quiet", services=[desk])

"""The application as `choros run` finds it."""

from tests.runtime.counter import counter

app = counter().app

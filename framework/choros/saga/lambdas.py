"""Functions without a name: what is wrong with one is said with whose it is."""

from collections.abc import Iterator
from contextlib import contextmanager

from choros.errors import DeclarationError


@contextmanager
def lambdas_of(whom: str) -> Iterator[None]:
    """What is wrong with a function that has no name is said with whose it is; raises DeclarationError."""
    try:
        yield
    except DeclarationError as error:
        if "<lambda>" not in error.sentence or "'<lambda>'" in error.sentence:
            raise
        raise DeclarationError(error.sentence.replace("<lambda>", f"the lambda of {whom}"), error.hint) from None


def unless_lambda(name: str, hint: str) -> str:
    """The hint to annotate a function of this name."""
    return "a lambda has no annotations: write a def with them." if name == "<lambda>" else hint

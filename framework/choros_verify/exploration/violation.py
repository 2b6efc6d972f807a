"""A promise that is broken."""


class Violation(Exception):
    """An invariant is broken; `number` is its place in the list."""

    def __init__(self, sentence: str, number: int) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.number = number


def hold(kept: object, sentence: str, number: int) -> None:
    """Raise Violation unless it holds."""
    if not kept:
        raise Violation(sentence, number)

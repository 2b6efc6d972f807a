"""The courses that a flow may take: every way for its reactions to come out, whatever the order they are called in.

A course is a set of facts, not a sequence: what an undo keeps from happening is in it as well. So it has more than can
come about, and a check that holds for all courses holds for all flows. What hangs on the order is for `choros verify`.
"""

from collections.abc import Iterator

from choros.app.flow_outline import FactType, FlowCourse, FlowOutline, FlowReaction, Fulfilment

MOST_COURSES = 20_000
"""Looked at while a module is imported; beyond that only `choros verify` knows."""


def courses(outline: FlowOutline, most: int = MOST_COURSES) -> Iterator[FlowCourse]:
    """Every course; no more than so many are looked at."""
    left = [FlowCourse(frozenset({outline.start}), {}, {})]
    for _ in range(most):
        if not left:
            return
        course = left.pop()
        number = _next(outline, course)
        if number is None:
            if _is_decided(outline, course):
                yield course
            continue
        for outcome, fact in _outcomes(outline, outline.reactions[number], course.facts):
            told = {number: fact} if fact else dict[int, FactType]()
            outcomes = {**course.outcomes, number: outcome}
            left.append(FlowCourse(course.facts.union(told.values()), outcomes, {**course.said, **told}))


def _next(outline: FlowOutline, course: FlowCourse) -> int | None:
    """The first reaction that is called, and of which nothing is said yet."""
    called = (
        number for number, one in enumerate(outline.reactions)
        if number not in course.outcomes and course.facts.issuperset(one.hears)
    )  # fmt: skip
    return next(called, None)


def _outcomes(
    outline: FlowOutline, reaction: FlowReaction, told: frozenset[FactType]
) -> Iterator[tuple[Fulfilment, FactType | None]]:
    deciding = outline.decides(reaction)
    for fact in outline.yeses(reaction):
        if fact not in outline.decisive or may_decide(outline, fact, told):
            yield "yes", fact
    if deciding:
        yield "too late", None
    elif reaction.undoes is None:
        yield from (("no", fact) for fact in outline.noes(reaction))
        if reaction.gives_up:
            yield "no", reaction.gives_up
        yield "open", None


def may_decide(outline: FlowOutline, fact: FactType | None, told: frozenset[FactType]) -> bool:
    """Whether the closer may still decide so: for one end, and for a bad one only once it has turned."""
    decided = told.intersection(outline.decisive)
    return decided <= frozenset(outline.turns) if fact in outline.bad else not decided


def _is_decided(outline: FlowOutline, course: FlowCourse) -> bool:
    """Something is too late only where something else has come before."""
    late = (outline.reactions[number] for number, how in course.outcomes.items() if how == "too late")
    return not any(may_decide(outline, fact, course.facts) for one in late for fact in _decisive(outline, one))


def _decisive(outline: FlowOutline, reaction: FlowReaction) -> Iterator[FactType]:
    return (fact for fact in reaction.publishes if fact in outline.decisive)

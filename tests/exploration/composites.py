"""Sagas to explore with nodes in their nodes: each kind alone, and the pairs nested in each other."""

from typing import Any

from choros import (
    App,
    Branch,
    Command,
    Done,
    Fact,
    Message,
    Parallel,
    Pivot,
    Publish,
    Retriable,
    Saga,
    Service,
    Step,
    When,
)


class Go(Message):
    key: str
    left: bool = True


class Do(Command[Done], refusals=("no",)):
    key: str


class Undo(Command[Done]):
    key: str


class Bind(Command[Done], refusals=("no",)):
    key: str


class Post(Command[Done]):
    key: str


class WentLeft(Fact):
    key: str


class WentRight(Fact):
    key: str


class Arrived(Fact):
    key: str


class CameBack(Fact):
    key: str


def do(go: Go) -> Do:
    return Do(key=go.key)


def undo(go: Go) -> Undo:
    return Undo(key=go.key)


def bind(go: Go) -> Bind:
    return Bind(key=go.key)


def post(go: Go) -> Post:
    return Post(key=go.key)


def left(go: Go) -> bool:
    return go.left


def right(go: Go) -> bool:
    return not go.left


def went_left(go: Go) -> WentLeft:
    return WentLeft(key=go.key)


def went_right(go: Go) -> WentRight:
    return WentRight(key=go.key)


def arrived(go: Go) -> Arrived:
    return Arrived(key=go.key)


def came_back(go: Go) -> CameBack:
    return CameBack(key=go.key)


def step(name: str) -> Step:
    return Step(do, to="north", compensation=undo, name=name)


def posted(name: str) -> Retriable:
    return Retriable(post, to="south", name=name)


pivot = Pivot(bind, to="south")
_STEPS: dict[str, tuple[Any, ...]] = {
    "when": (step("a"), When(left, then=[step("b"), Publish(went_left)], otherwise=Publish(went_right)), pivot),
    "parallel": (Parallel(step("a"), step("b")), pivot),
    "branch": (Parallel(Branch("long", step("a"), step("b")), step("c")),),
    "behind the pivot": (pivot, Parallel(posted("a"), posted("b"))),
    "when in parallel": (Parallel(When(left, then=step("a"), otherwise=step("b")), step("c")),),
    "parallel in when": (When(left, then=Parallel(step("a"), step("b"))),),
    "parallel in parallel": (Parallel(Parallel(step("a"), step("b"), name="inner"), step("c")),),
    "when in when": (When(left, then=When(right, then=step("a"), otherwise=step("b")), otherwise=step("c")), step("d")),
}
sagas = {
    name: Saga(
        name.replace(" ", "-"),
        start=Go,
        key=lambda go: go.key,
        steps=steps,
        completed=arrived,
        compensated=came_back,
    )
    for name, steps in _STEPS.items()
}
GOES = [(name, True) for name in sagas] + [("when", False), ("when in parallel", False), ("when in when", False)]
"""Each, and on both ways where there is something on both."""
app = App(
    "composites",
    sagas=tuple(sagas.values()),
    services=(Service("north", commands=(Do, Undo)), Service("south", commands=(Bind, Post))),
)

"""The checks of a choreography: each mistake is a sentence that names it, with a way out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args

from choros.app.flow_outline import FactType, FlowCourse, FlowOutline, FlowReaction, named
from choros.callables import annotations_of
from choros.errors import DeclarationError
from choros.messages import Fact


def check_flow(flow: FlowOutline, declared: Iterable[FlowReaction], courses: Iterable[FlowCourse]) -> None:
    """Raises DeclarationError for a flow that cannot work; `declared` are all reactions of its services, `courses`
    those that it may take."""
    _check_told(flow, declared)
    _check_reached(flow, declared)
    _check_undoes(flow)
    _check_undone_before(flow)
    _check_loops(flow)
    for effect in flow.effects:
        _check_raised(flow, effect)
    if flow.retraction:
        _check_retraction(flow, flow.retraction)
    for course in courses:
        _check_undone(flow, course)
        _check_beside(flow, course)
        _check_stuck(flow, course)


def _check_told(flow: FlowOutline, declared: Iterable[FlowReaction]) -> None:
    for fact in flow.decisive:
        if fact not in flow.facts:
            sentence = f"{flow.where} is said to come to {fact.__name__}, which nobody publishes once it has begun."
            teller = next((one for one in declared if fact in one.tells), None)
            hint = f"@{flow.closer}.on(..., publishes={fact.__name__})."
            if teller:
                lacking = named(one for one in teller.hears if one not in flow.facts)
                hint = f"name in services= who publishes {lacking}: {teller.said} waits for that."
            raise DeclarationError(sentence, hint)


def _check_reached(flow: FlowOutline, declared: Iterable[FlowReaction]) -> None:
    """A reaction that speaks of the flow's facts is meant for it and must be called, unless it only begins it."""
    reached = [(one.service, one.hears) for one in flow.reactions]
    for one in declared:
        if (one.service, one.hears) in reached:
            continue
        told = [fact for fact in one.tells if fact is not flow.start]
        about = [fact for fact in (*one.hears, *told, one.undoes) if fact in flow.facts]
        if about:
            lacking = named(fact for fact in one.hears if fact not in flow.facts)
            sentence = f"{flow.where}: {one.said} waits for {lacking}, which nobody publishes in it."
            raise DeclarationError(sentence, f"publishes=({lacking},) where it happens.")


def _check_undoes(flow: FlowOutline) -> None:
    for undo in flow.reactions:
        if undo.undoes is None:
            continue
        done = [one for one in flow.reactions if one.service == undo.service and undo.undoes in one.hears]
        if not done:
            what = undo.undoes.__name__
            sentence = f"{flow.where}: {undo.said} undoes what {undo.service!r} does about {what}, which is nothing."
            raise DeclarationError(sentence, f"@{undo.service}.on({what}), or undoes= another fact.")


def _check_raised(flow: FlowOutline, effect: FlowReaction) -> None:
    """What it returns leaves with its effect; a no is told in place of that."""
    returned = annotations_of(effect.function, f"{flow.where}: {effect.said}").get("return")
    no = next((fact for fact in flow.noes(effect) if fact in (returned, *get_args(returned))), None)
    if no:
        sentence = f"{flow.where}: {effect.said} returns {no.__name__}, which says that nothing was done."
        hint = (
            f"raise Refused(code, fact={no.__name__}(...)): then its effect is rolled back; and leave it out of ->."
            " Or, if it takes back what was done before, say so: undoes=..."
        )
        raise DeclarationError(sentence, hint)


def _check_loops(flow: FlowOutline) -> None:
    """Every reaction of a loop that publishes only what leads back into it goes round for ever."""
    for fact in flow.facts:
        loop = {one for one in flow.leads_to(fact) if fact in flow.leads_to(one)}
        inside = [one for one in flow.reactions if loop.intersection(one.hears) and loop.intersection(one.tells)]
        if inside and not any(_leaves(one, loop) for one in inside):
            ways = named(one for one in flow.facts if one in loop)
            sentence = f"{flow.where} goes round for ever: nothing but {ways} comes of {fact.__name__}."
            raise DeclarationError(sentence, "let one of its reactions publish a fact that leads out.")


def _leaves(reaction: FlowReaction, loop: set[FactType]) -> bool:
    return reaction.silent or not loop.issuperset(reaction.tells)


def _check_undone_before(flow: FlowOutline) -> None:
    """A bad end says that all is undone, so nothing is undone on account of it."""
    for end in flow.bad:
        about = flow.leads_to(end)
        undo = next((one for one in flow.reactions if one.undoes and not about.isdisjoint(one.hears)), None)
        if undo:
            sentence = f"{flow.where}: {end.__name__} says that all is undone, and {undo.said} undoes after it."
            hint = "have another fact published first, name it in turns=, undo on that, and end once all have said so."
            raise DeclarationError(sentence, hint)


def _check_retraction(flow: FlowOutline, retraction: FactType) -> None:
    """What takes the start back takes all back, after a good end as well."""
    about = flow.leads_to(retraction)
    for effect in flow.effects:
        undoers = _by_function(one for one in flow.undoers(effect) if about.issuperset(one.hears))
        if len(undoers) != 1:
            who = " and ".join(one.said for one in undoers) or "nobody"
            sentence = f"{flow.where}: {retraction.__name__} takes it back, and {who} undoes {effect.said} then."
            raise DeclarationError(sentence, _undo_hint(effect, retraction))


def _check_undone(flow: FlowOutline, course: FlowCourse) -> None:
    """At a bad end each effect that may stand, or may still come, has one undoer that hears of it."""
    end = next((fact for fact in flow.bad if fact in course.facts), None)
    if end is None:
        return
    for number, effect in enumerate(flow.reactions):
        if effect not in flow.effects or course.outcomes.get(number) not in ("yes", "open"):
            continue
        undoers = _by_function(one for one in flow.undoers(effect) if course.facts.issuperset(one.hears))
        if not undoers:
            raise DeclarationError(*_left_standing(flow, course, end, effect))
        _check_one(flow, effect, undoers)
        _check_in_time(flow, course, end, effect)


def _check_one(flow: FlowOutline, effect: FlowReaction, undoers: Sequence[FlowReaction]) -> None:
    if len(undoers) > 1:
        who = " and ".join(one.said for one in undoers)
        told = named(fact for one in undoers for fact in one.hears)
        sentence = f"{flow.where}: {who} both undo {effect.said} where {told} are told in one flow."
        hint = "one function for all, and a name: on(..., effect='charge'), on(A, B, undoes='charge')."
        raise DeclarationError(sentence, hint)


def _check_in_time(flow: FlowOutline, course: FlowCourse, end: FactType, effect: FlowReaction) -> None:
    """The bad end waits for every undo."""
    undoers = [number for number, one in enumerate(flow.reactions) if one in flow.undoers(effect)]
    if end in course.without(undoers, flow):
        undo = flow.reactions[next(number for number in undoers if number in course.outcomes)]
        says = named(undo.publishes) or "a fact"
        sentence = f"{flow.where}: {end.__name__} may be told before {undo.said} has undone {effect.said}."
        hint = f"have {undo.said} publish {says}, and let {flow.closer!r} wait for that: all_of()."
        raise DeclarationError(sentence, hint)


def _by_function(undoers: Iterable[FlowReaction]) -> Sequence[FlowReaction]:
    """One of each function: what hears several bad facts undoes once."""
    return list({one.function: one for one in undoers}.values())


def _left_standing(flow: FlowOutline, course: FlowCourse, end: FactType, effect: FlowReaction) -> tuple[str, str]:
    told = named(fact for fact in flow.facts if fact in course.facts and fact is not end)
    sentence = f"{flow.where} may end with {end.__name__} while {effect.said} stands: nobody undoes it after {told}."
    bad = [fact for fact in flow.facts if fact in course.facts and (flow.is_no(fact) or fact in flow.turns)]
    return sentence, _undo_hint(effect, (bad or [end])[-1])


def _undo_hint(effect: FlowReaction, heard: FactType) -> str:
    undone = repr(effect.effect) if effect.effect else effect.hears[0].__name__
    undo = f"@{effect.service}.on({heard.__name__}, undoes={undone})"
    return f"{undo}; or standing=({effect.name},), where it leaves nothing behind."


def _check_beside(flow: FlowOutline, course: FlowCourse) -> None:
    """An undo beside a good end takes back what has happened, as that says; only the closer knows which end it is."""
    end = next((fact for fact in flow.good if fact in course.facts), None)
    decided = {*flow.turns, *flow.bad}
    undos = (one for one in flow.reactions if one.undoes and course.facts.issuperset(one.hears))
    undo = next((one for one in undos if decided.isdisjoint(_causes(flow, one))), None) if end else None
    if end and undo:
        heard = undo.hears[-1].__name__
        raise DeclarationError(
            f"{flow.where} may end with {end.__name__} while {undo.said} undoes: {heard} may be told beside it.",
            f"let {flow.closer!r} decide: @{flow.closer}.on({heard}, publishes=...) a fact that is one of turns=, and"
            " undo on that.",
        )


def _causes(flow: FlowOutline, reaction: FlowReaction) -> set[type[Fact]]:
    """All facts that may lead to it."""
    return {fact for fact in flow.facts if not flow.leads_to(fact).isdisjoint(reaction.hears)}


def _check_stuck(flow: FlowOutline, course: FlowCourse) -> None:
    if course.rests and course.facts.isdisjoint((*flow.good, *flow.bad)):
        told = named(fact for fact in flow.facts if fact in course.facts)
        sentence = f"{flow.where} may never end: nothing more comes of {told}."
        raise DeclarationError(sentence, f"let {flow.closer!r} hear the last of them, and publish how it ends.")

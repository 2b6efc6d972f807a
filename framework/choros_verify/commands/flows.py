"""`choros verify` of a choreography: every interleaving of its facts; and whether it is at parity with another."""

from typing import Any

from choros.app.app import App
from choros.app.choreography import Choreography
from choros.errors import UsageError, unknown
from choros.roles.loading import load_app
from choros_verify.exploration.flows import explore_flow, flow_mutants, flow_report_lines
from choros_verify.exploration.parity import Compared, ParityReport, parity


def verified_flow(flow: Choreography[Any], *, mutants: bool, most_states: int) -> tuple[list[str], dict[str, Any]]:
    """What was found, in words and for the report."""
    found = explore_flow(flow.outline, most_states=most_states)
    lines, told = flow_report_lines(found), found.to_json()
    if mutants and not found.violation:
        tried = list(flow_mutants(flow.outline, most_states))
        for name, what, one in tried:
            lines.append(f"{'✔' if one.violation else '–'} mutant {name!r}: {what}")
            steps = [f"  {number}. {sentence}" for number, sentence in enumerate(one.story, 1)]
            lines += [*steps, f"  So {one.violation}."] if one.violation else ["  It breaks nothing here."]
        told["mutants"] = {name: bool(one.violation) for name, _, one in tried}
    return lines, told


def compared(loaded: App, one: str, other: str) -> ParityReport:
    """Two declarations: each is the name of a saga or choreography here, or behind its application, `other_app/order`.
    Raises UsageError."""
    return parity(_named(loaded, one), _named(loaded, other))


def _named(loaded: App, name: str) -> tuple[App, Compared]:
    where, _, last = name.rpartition("/")
    app = load_app(where) if where else loaded
    sagas, flows = ({name for name, _ in declared} for declared in (app.sagas, app.choreographies))
    if last not in sagas | flows:
        sentence = f"There is no saga and no choreography {last!r} in this application."
        raise UsageError(*unknown(sentence, last, sorted(sagas | flows)))
    if last in sagas & flows:
        raise UsageError(f"Both a saga and a choreography are called {last!r}.", "give one of them another name.")
    return app, app.saga(last) if last in sagas else app.choreography(last)

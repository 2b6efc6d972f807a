"""`choros verify` of a choreography: every interleaving of its facts."""

from typing import Any

from choros.app.choreography import Choreography
from choros_verify.exploration.flows import explore_flow, flow_mutants, flow_report_lines


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

"""Whether a plan that somebody wrote speaks of what there is: a slip of the pen would be a run without the fault."""

from collections.abc import Collection
from typing import get_args

from choros.errors import UsageError, unknown
from choros.saga.outline import Commanded
from choros.saga.paths import declared
from choros_verify.simulation.callbacks import FAILED
from choros_verify.simulation.faults import kinds_of
from choros_verify.simulation.nested_sagas import served
from choros_verify.simulation.script import BESIDE, OF_REACTIONS, Behaviour, FlowLine, RunPlan, ScriptLine
from choros_verify.simulation.targets import Targets


def check_plan(plan: RunPlan, setting: Targets) -> None:
    """Raises UsageError for a step, an outcome, a code, a kind of fault or a target that there is not."""
    for line in plan.script:
        _check_line(line, setting, plan)
    for one in plan.reactions:
        _check_reaction(one, setting, plan)
    beside = [f"{BESIDE}{name}" for name in setting.processes if plan.beside]
    targets = ["broker", *setting.processes, *setting.stores, *setting.queues, *beside]
    for fault in plan.faults:
        _known(f"{fault}: kind of fault", fault.kind, kinds_of(frames=plan.frames, stores=(plan.store,)))
        if not fault.target.startswith("orchestrator-") and ".retry." not in fault.target:
            _known(f"{fault}: target", fault.target, targets)


def _check_line(line: ScriptLine, setting: Targets, plan: RunPlan) -> None:
    if not 0 <= line.saga < (started := len(plan.starts)):
        raise UsageError(f"{line}: this plan starts {started} sagas.", "the first is 0; more with starts=(0.0, ...).")
    leaves = {leaf.path: leaf for leaf in served(setting.saga(plan, line.saga))}
    if declared(line.step) not in leaves:
        _known(f"{line}: step", line.step, leaves)
    _known(f"{line}: outcome", line.outcome, get_args(Behaviour))
    leaf = leaves[declared(line.step)]
    if line.outcome == "refused" and line.operation == "do":
        _known(f"{line}: code", line.code, leaf.sure_refusals)
    if line.outcome == "later":
        _check_later(line, leaf)


def _check_reaction(line: FlowLine, setting: Targets, plan: RunPlan) -> None:
    if not 0 <= line.flow < (begun := len(plan.flows)):
        raise UsageError(f"{line}: this plan begins {begun} flows.", "the first is 0; more with flows=(0.0, ...).")
    pieces = {piece.name: piece for piece in setting.flows.pieces_of(line.flow)}
    _known(f"{line}: reaction", line.reaction, pieces)
    _known(f"{line}: outcome", line.outcome, OF_REACTIONS)
    if line.outcome == "refused":
        _known(f"{line}: no", line.code, [fact.type_name for fact in pieces[line.reaction].noes])


def _check_later(line: ScriptLine, leaf: Commanded) -> None:
    if leaf.finished_within is None or line.operation == "undo":
        raise UsageError(f"{line}: it is never finished later.", "only what a step with finished_within does is.")
    _known(f"{line}: code", line.code, ("", FAILED, *leaf.sure_refusals))


def _known(what: str, given: str, known: Collection[str]) -> None:
    if given not in known:
        raise UsageError(*unknown(f"{what} {given!r} is not known.", given, known))

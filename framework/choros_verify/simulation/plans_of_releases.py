"""What a plan has for sagas that have ended, or have a newer version: they are run again, and moved."""

from collections.abc import Iterator

from choros_verify.simulation.releases import newest
from choros_verify.simulation.script import PersonAct, RunPlan, chance_of
from choros_verify.simulation.targets import Targets


def more_releases(plan: RunPlan, setting: Targets) -> Iterator[PersonAct]:
    """Somebody runs a saga again, when it has ended; and where there is a newer version, lets it go on as that."""
    chance = chance_of(plan, "releases")
    for index, start in enumerate(plan.starts):
        saga = setting.saga(plan, index)
        if chance.random() < 0.12:
            if chance.random() < 0.5:  # in the middle of it, so that something is kept
                yield PersonAct(round(start + 2.0 * chance.random() ** 2, 3), index, "terminate")
            yield PersonAct(round(start + 60.0 * chance.random(), 3), index, "rerun", chance.randrange(4))
        if chance.random() < 0.6 and newest(setting.app, saga) is not saga:
            yield PersonAct(round(start + 15.0 * chance.random() ** 3, 3), index, "move")

"""`make reliability-report`: measure what has not been measured yet, and write docs/reliability-report.md.

`ARGS="--again NAME ..."` measures those anew, `--all` everything, `--collect` nothing.
"""

import argparse

from tests.reliability.measuring import FOLDER, MEASUREMENTS
from tests.reliability.page import PAGE, page


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("--again", nargs="+", default=[], choices=[one.name for one in MEASUREMENTS], metavar="NAME")
    parser.add_argument("--all", action="store_true", help="measure everything anew, which takes over an hour")
    parser.add_argument("--collect", action="store_true", help="measure nothing; write what is there")
    given = parser.parse_args()
    for one in MEASUREMENTS:
        stale = given.all or one.name in given.again or not one.path.exists()
        if stale and not given.collect:
            print(f"{one.name}: about {one.minutes:g} minutes", flush=True)
            one.run()
    PAGE.write_text(page({one.name: one.figures() for one in MEASUREMENTS}))
    print(f"{PAGE.name} is written from {FOLDER.relative_to(PAGE.parents[1])}/*.json")


if __name__ == "__main__":
    main()

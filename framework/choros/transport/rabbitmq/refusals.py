"""What the broker says to a user who may not, in a sentence."""

import re

from choros.errors import BrokerMisconfigured

_DOT = r"\."
HINT = "choros topology permissions APP, which prints what each role needs."
CREATES = "as an administrator's user: no role needs to create anything, so permissions of roles do not say it."
_REFUSED = re.compile(
    r"(?:(?P<act>configure|write|read) )?access to (?P<kind>\w+) '(?P<name>[^']*)'.*refused for user '(?P<user>[^']*)'"
)


def denied(failure: BaseException, act: str) -> BrokerMisconfigured:
    """The error for a 403; `act` (configure, write or read) is what was tried, where the broker does not say."""
    hint = CREATES if act == "configure" else HINT
    found = _REFUSED.search(str(failure))
    if found is None:
        return BrokerMisconfigured(f"This user may not {act} something that it needs ({failure}).", hint)
    act, name = found["act"] or act, found["name"]
    to = "to " if act == "write" else ""
    return BrokerMisconfigured(
        f"The user '{found['user']}' may not {act} {to}the {found['kind']} '{name}': it lacks permission to {act}"
        f" '^{name.replace('.', _DOT)}$'.",
        hint,
    )

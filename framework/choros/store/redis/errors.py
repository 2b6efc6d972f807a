"""What Redis says when it refuses, as errors of ours; never with what was sent, and never with a password."""

from redis import exceptions as redis_errors

from choros.errors import ChorosError, StoreMisconfigured, StoreUnreachable

_BAD_LOGIN = ("does not accept this user and password", "check them in the address, and the user's permissions.")
_FULL = ("is out of memory and refused the write whole", "raise maxmemory; choros goes on by itself.")
_NOT_PRIMARY = ("is a replica and takes no writes", "the address of the primary; after a failover, just wait.")
_MEANINGS: tuple[tuple[type[Exception], type[ChorosError], tuple[str, str]], ...] = (
    (redis_errors.AuthenticationError, StoreMisconfigured, _BAD_LOGIN),
    (redis_errors.AuthorizationError, StoreMisconfigured, _BAD_LOGIN),
    (redis_errors.AuthenticationWrongNumberOfArgsError, StoreMisconfigured, _BAD_LOGIN),
    (redis_errors.NoPermissionError, StoreMisconfigured, _BAD_LOGIN),
    (redis_errors.OutOfMemoryError, StoreUnreachable, _FULL),
    (redis_errors.ReadOnlyError, StoreUnreachable, _NOT_PRIMARY),
    (redis_errors.BusyLoadingError, StoreUnreachable, ("is still loading its data", "wait.")),
    (redis_errors.MasterDownError, StoreUnreachable, _NOT_PRIMARY),
    (redis_errors.ClusterDownError, StoreUnreachable, ("takes no writes now (CLUSTERDOWN)", "look into its log.")),
    (redis_errors.NoScriptError, StoreUnreachable, ("has forgotten a script as it was given it", "wait.")),
    (redis_errors.MovedError, StoreMisconfigured, ("is part of a cluster", "a single primary.")),
)


def named(error: Exception, server: str) -> ChorosError:
    """The error of ours that says what Redis means; never with what was sent."""
    for kind, ours, (what, hint) in _MEANINGS:
        if isinstance(error, kind):
            return ours(f"Redis at {server} {what}.", hint)
    if isinstance(error, redis_errors.ResponseError):
        return _named_by_code(_code_of(error), server)
    return StoreUnreachable(f"Redis at {server} does not answer.", "start it, or check the address.")


def _code_of(error: redis_errors.ResponseError) -> str:
    """The word that says what is wrong: of a transaction that was refused at its end, what stood in its way by then.
    redis-py takes away the words that it has a class for."""
    text = str(error)
    if isinstance(error, redis_errors.ExecAbortError):
        text = text.partition("because of: ")[2] or "EXECABORT"
    return text.partition(" ")[0]


def is_of_what_is_stored(error: object) -> bool:
    """Whether a script met something in its keys that it cannot work with: no other call is concerned."""
    if type(error) is not redis_errors.ResponseError or "@user_script" not in str(error):
        return False
    code = str(error).partition(" ")[0]  # redis-py takes "ERR" away; what else has one means the server
    return code in ("ERR", "WRONGTYPE") or not code.isupper()


_ELSEWHERE = frozenset({"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS", "NOAUTH"})
"""What a server says that is no primary, or none any more, or whose users have changed: the same address may lead to
another one by now, which a connection that is kept never finds out."""
_ELSEWHERE_KINDS = (
    redis_errors.ReadOnlyError,
    redis_errors.BusyLoadingError,
    redis_errors.MasterDownError,
    redis_errors.ClusterDownError,
    redis_errors.AuthenticationError,
)


def leads_elsewhere(answer: object) -> bool:
    """Whether a new connection may reach a server that says otherwise."""
    if isinstance(answer, _ELSEWHERE_KINDS):
        return True
    return isinstance(answer, redis_errors.ResponseError) and _code_of(answer) in _ELSEWHERE


def _named_by_code(code: str, server: str) -> ChorosError:
    if code in ("OOM", "EXECABORT"):
        return StoreUnreachable(f"Redis at {server} {_FULL[0]}.", _FULL[1])
    if code == "READONLY":
        return StoreUnreachable(f"Redis at {server} {_NOT_PRIMARY[0]}.", _NOT_PRIMARY[1])
    if code in ("NOAUTH", "WRONGPASS", "NOPERM"):
        return StoreMisconfigured(f"Redis at {server} {_BAD_LOGIN[0]}.", _BAD_LOGIN[1])
    if code in ("MISCONF", "BUSY", "MASTERDOWN", "NOREPLICAS", "UNBLOCKED", "TRYAGAIN", "CLUSTERDOWN"):
        return StoreUnreachable(f"Redis at {server} takes no writes now ({code}).", "look into its log.")
    code = code if code.isupper() else "an error"
    return StoreMisconfigured(
        f"Redis at {server} refused a command ({code}).", "a namespace that no other application writes to."
    )

"""Services that users bring into a simulated world: their own handlers, and what those need besides messages."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial

from choros.app.app import App
from choros.app.handler import Handler
from choros.app.service import Service
from choros.errors import UsageError
from choros.store.barrier import Transaction
from choros.store.redis.barrier import RedisTransaction
from choros.store.sqlite.barrier import SqliteTransaction
from choros_verify.simulation.script import StoreKind
from choros_verify.simulation.stores import SimTransaction

Own = Collection[str] | Mapping[str, Callable[[], Service]]
"""Names of services as they are declared; or with each a function that makes it, and all that its handlers need."""
_GIVEN: Mapping[StoreKind, type[Transaction]] = {
    "memory": SimTransaction, "redis": RedisTransaction, "sqlite": SqliteTransaction
}  # fmt: skip
"""What handlers get on each kind of database."""


class OwnServices:
    """Made anew for each run, where there is a function that makes them: so no run finds what another one has left."""

    def __init__(self, app: App, own: Own) -> None:
        declared = {name: app.service(name) for name in own}
        made = own if isinstance(own, Mapping) else {}
        self._makers = {name: made.get(name) or partial(app.service, name) for name in own}
        self._now: Mapping[str, Service] = {}
        self.renew()
        for name, service in self._now.items():
            _check(declared[name], service)

    def renew(self) -> None:
        """Another run begins."""
        self._now = {name: make() for name, make in self._makers.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._makers

    def of(self, name: str) -> Service:
        """The service as it is in this run."""
        return self._now[name]

    def handler(self, service: str, kind: str) -> Handler:
        """Its handler of this type of message, as it is in this run."""
        made = self._now[service]
        return made.handlers.get(kind) or made.reactions[kind]

    def stores(self, wanted: StoreKind | None) -> Sequence[StoreKind]:
        """The kinds of databases that all handlers are written for. Raises UsageError where there is none, or it is not
        the wanted one."""
        asking = [
            (where, kind) for where, handler in self._handlers() if (kind := handler.session or handler.transaction)
        ]
        kinds: list[StoreKind] = [one for one, given in _GIVEN.items() if wanted in (None, one)]
        fit = [one for one in kinds if all(issubclass(_GIVEN[one], kind) for _, kind in asking)]
        if fit:
            return fit
        names = ", ".join(dict.fromkeys(f"{where} takes a {kind.__name__}" for where, kind in asking))
        raise UsageError(
            f"{names}: there is no such database here{f' with {wanted}' if wanted else ''}.",
            "write all for one kind of transaction, or let the service be played.",
        )

    def _handlers(self) -> Iterator[tuple[str, Handler]]:
        for service in self._now.values():
            for handler in (*service.handlers.values(), *service.reactions.values()):
                yield f"{handler.name} of {service.name}", handler


def _check(declared: Service, made: object) -> None:
    """Raises UsageError unless it can stand for the one that is declared."""
    if not isinstance(made, Service) or made.name != declared.name:
        raise UsageError(f"What was made for {declared.name} is no service of that name.", "return Service(...).")
    lacking = {one.__name__ for one in (*declared.commands, *declared.facts)} - _handled(made)
    if lacking:
        names = ", ".join(sorted(lacking))
        raise UsageError(
            f"The service {declared.name} has no handlers here for {names}.", "import the module that adds them."
        )
    if made.lacking:
        one = made.lacking.partition(",")[0]
        raise UsageError(
            f"The service {declared.name} asks for a {made.lacking}, and nothing real is opened here.",
            f"--own {declared.name}=MODULE:make (own={{{declared.name!r}: make}}), which returns"
            f" {declared.name}.using({{{one}: ...}}).",
        )


def _handled(service: Service) -> set[str]:
    return {one.message.__name__ for one in (*service.handlers.values(), *service.reactions.values())}

"""`choros topology`: what an application needs on the broker, and who may do what there."""

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Annotated

import typer

from choros.app.app import App
from choros.cli.options import AppName, BrokerUrl, loaded_apart, run_until_done
from choros.cli.verbs import Verbs
from choros.cli.words import lasting
from choros.errors import UsageError
from choros.roles.addresses import DEFAULT_BROKER, DEFAULT_STORE, Addresses, connected, opened_store
from choros.roles.loading import load_app
from choros.transport.acts import acts_topology
from choros.transport.permissions import (
    Rights,
    before,
    client,
    operator,
    orchestrator,
    participant,
    publisher,
    signaller,
    subscriber,
)
from choros.transport.topology import Names, Topology

app = Verbs(help="What an application needs on the broker, and who may do what there.")
ItsStore = Annotated[
    str | None,
    typer.Option(
        "--store", metavar="URL", envvar=["CHOROS_STORE"], help="the saga store, whose reply queue is declared as well"
    ),
]
CLIENT = "client"
"""A role, though a service may be called so as well."""
OPERATOR = "operator"
"""Likewise: whoever looks at dead letters, and puts them back."""
Users = Annotated[
    str,
    typer.Option(
        metavar="PATTERN", help="what the users are called: {role}, {namespace} and {application} stand for those"
    ),
]


@app.command(examples=["topology apply shop --broker amqp://admin@localhost/"])
def apply(application: AppName, broker: BrokerUrl = DEFAULT_BROKER, store: ItsStore = None) -> None:
    """Declare everything that the application needs, as a user who may: then its roles need not be permitted to.

    It may be repeated; nothing is deleted. The replies to each store have a queue of their own: name the store to have
    it declared."""
    if store is not None:
        lasting(store)
    if broker.startswith("memory:"):
        raise UsageError("A broker in memory ends with this command.", "--broker amqp://...")
    loaded = loaded_apart(application)
    whole = run_until_done(_apply(loaded, Addresses(broker, store or DEFAULT_STORE), with_store=store is not None))
    counts = f"{len(whole.exchanges)} exchanges, {len(whole.queues)} queues and {len(whole.bindings)} bindings"
    print(f"✔ {counts} of {loaded.namespace} are declared")
    if loaded.sagas and store is None:
        print("without the reply queue of a store: its replies share that of the application. Try: --store ADDRESS.")


async def _apply(loaded: App, addresses: Addresses, *, with_store: bool) -> Topology:
    names = Names(loaded.namespace)
    whole = loaded.topology + acts_topology(loaded.namespace)
    whole = sum((one.exchange.theirs(names) for one in loaded.foreign.values()), whole)
    if loaded.sagas and with_store:
        async with opened_store(addresses, loaded) as store:
            whole += loaded.replies_on(store.identity, store.lasting)
    async with connected(addresses, loaded, "topology") as transport:
        await transport.declare(whole, strictly=True)
    return whole


@app.command(examples=["topology permissions shop --users '{namespace}-{role}'"])
def permissions(
    application: AppName,
    users: Users = "{role}",
    vhost: Annotated[str, typer.Option(help="the virtual host")] = "/",
    as_json: Annotated[bool, typer.Option("--json", help="as definitions for rabbitmqctl import_definitions")] = False,
    with_old: Annotated[
        bool, typer.Option("--with-old", help="also what processes need that know of no exchanges of their own")
    ] = False,
) -> None:
    """Print the least that each role has to be permitted, once everything is declared (topology apply).

    The roles are orchestrator, client (which starts sagas, and reads nothing), each service by its name, for its
    commands and its facts, and operator, who looks at dead letters and puts them back."""
    loaded = load_app(application)
    names = Names(loaded.namespace)
    granted = [(role, rights | before(names, rights) if with_old else rights) for role, rights in rights_of(loaded)]
    named = {_user(users, role, loaded): rights for role, rights in granted}
    if len(named) < len(granted):
        raise UsageError(f"--users {users!r} calls several roles the same.", "--users '{namespace}-{role}'.")
    print(_definitions(named, vhost) if as_json else "\n".join(_commands(named, vhost)))


def rights_of(loaded: App) -> list[tuple[str, Rights]]:
    """What each role of an application needs, by its name."""
    names = Names(loaded.namespace)
    found: list[tuple[str, Rights]] = []
    if loaded.sagas:
        nests = loaded.nests
        found.append(
            (
                "orchestrator",
                orchestrator(
                    names, loaded.name, nests=nests, hears=bool(loaded.heard), signalled=bool(loaded.signallers)
                ),
            )
        )
        found.append((CLIENT, client(names, loaded.name, nests=nests)))
    for service in loaded.services.values():
        rights = participant(names, service.name) if service.name in loaded.participants else Rights()
        if service.facts:
            rights |= subscriber(names, service.subscription, reads_log=service.needs_log)
        if service.publishes:
            rights |= publisher(names, service.name)
        if service.signals:
            rights |= signaller(names, service.name)
        found.append((f"{service.name}-service" if service.name in (CLIENT, OPERATOR) else service.name, rights))
    found += [(program, publisher(names, program)) for program in loaded.programs]
    found += [(f"foreign-{name}", one.exchange.rights(names)) for name, one in loaded.foreign.items()]
    found.append((OPERATOR, operator(names, loaded.topology)))
    return [(role, rights) for role, rights in found if rights != Rights()]


def _user(pattern: str, role: str, loaded: App) -> str:
    try:
        name = pattern.format(role=role, namespace=loaded.namespace, application=loaded.name)
    except (LookupError, ValueError, AttributeError):
        name = ""
    if not name.strip():
        raise UsageError(f"--users {pattern!r} is no name for a user.", "--users '{namespace}-{role}'.")
    return name


def _definitions(named: Mapping[str, Rights], vhost: str) -> str:
    rows = [
        dict(zip(("user", "vhost", "configure", "write", "read"), (user, vhost, *rights.patterns), strict=True))
        for user, rights in named.items()
    ]
    return json.dumps({"permissions": rows}, indent=2)


def _commands(named: Mapping[str, Rights], vhost: str) -> Iterator[str]:
    for user, rights in named.items():
        yield f"# rabbitmqctl add_user {shlex.quote(user)}    (once; it asks for the password)"
        arguments = ["--vhost", vhost, user, *rights.patterns]
        yield f"rabbitmqctl set_permissions {' '.join(map(shlex.quote, arguments))}"

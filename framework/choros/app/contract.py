"""What a participant or a subscriber in another language has to know of an application, as JSON: every body as JSON
Schema (2020-12), what a command may be answered with, and which command goes with which operation of which step.

Of commands and facts the schema says what choros writes, of replies what it reads.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal

from choros.app.app import App
from choros.app.service import Service
from choros.messages import SYSTEM_REFUSALS, Close, Closed, Command, Fact, Failure, Message, NothingToUndo
from choros.saga.saga import Saga

Json = dict[str, Any]


def contract(app: App) -> Json:
    """Everything that the services of this application are asked and told, and by which steps."""
    return {
        "namespace": app.namespace,
        "application": app.name,
        "services": {service.name: _service(service, app) for service in app.services.values()},
        **({"programs": _programs(app)} if app.programs else {}),
        "facts": {fact.type_name: _schema(fact, "serialization") for fact in _facts(app)},
    }


def _programs(app: App) -> Json:
    return {one.name: {"publishes": [fact.type_name for fact in one.publishes]} for one in app.programs.values()}


def _service(service: Service, app: App) -> Json:
    over_the_broker = service.commands if service.name in app.participants else ()
    commands = {command.type_name: _command(command, service.name, app) for command in over_the_broker}
    if commands:
        commands[Close.type_name] = {
            "body": _schema(Close, "serialization"),
            "ok": {Closed.type_name: _schema(Closed, "validation")},
        }
    told = {"publishes": [fact.type_name for fact in service.publishes]} if service.publishes else {}
    return {"commands": commands, "facts": [fact.type_name for fact in service.facts], **told}


def _command(command: type[Command[Any]], service: str, app: App) -> Json:
    sent = [one for saga in app.sagas.values() for one in _sent(saga, command, service)]
    replies: list[type[Message]] = [command.reply_type]
    if any(one["operation"] == "undo" for one in sent):
        replies.append(NothingToUndo)
    said: Json = {
        "sent": sent,
        "body": _schema(command, "serialization"),
        "ok": {reply.type_name: _schema(reply, "validation") for reply in replies},
    }
    if any(one["operation"] == "do" for one in sent):
        codes = {"enum": [*command.refusals, *SYSTEM_REFUSALS]}
        more = {"data": {"type": "object"}} if command.refusal_data else {}
        said["refused"] = {Failure.type_name: _failure("refused", codes, more)}
    if command.refusal_data:
        said["refused_with"] = {code: _schema(data, "validation") for code, data in command.refusal_data.items()}
    return {**said, "failed": {Failure.type_name: _failure("failed", {"type": "string"})}}


def _sent(saga: Saga[Any], command: type[Message], service: str) -> Iterator[Json]:
    for leaf in saga.outline.commands:
        for operation, sent in leaf.commands.items():
            if leaf.to == service and command in sent:
                yield {"saga": saga.name, "version": saga.version, "step": leaf.path, "operation": operation}


def _failure(kind: str, codes: Json, more: Mapping[str, Json] = MappingProxyType({})) -> Json:
    """A failure of this kind, with one of these codes."""
    schema = _schema(Failure, "validation")
    return schema | {"properties": {**schema["properties"], "code": codes, "kind": {"const": kind}, **more}}


def _facts(app: App) -> Iterable[type[Fact]]:
    """Those that anybody publishes, and those that anybody reacts to."""
    found: list[Any] = [fact for saga in app.sagas.values() for fact in saga.outline.facts]
    found += [fact for one in app.services.values() for fact in (*one.facts, *one.publishes)]
    return dict.fromkeys([*found, *(fact for one in app.programs.values() for fact in one.publishes)])


def _schema(message: type[Message], mode: Literal["serialization", "validation"]) -> Json:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **message.model_json_schema(mode=mode)}

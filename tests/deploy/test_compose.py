"""deploy/compose.yaml is valid, and says what we promise about it."""

import importlib.util
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def test_follows_the_compose_specification() -> None:
    # The oracle knows no `<<`, so it gets the merged form.
    parsed = compose_spec.PyCompose.from_yaml(yaml.safe_dump(COMPOSE))
    parsed.validate()
    assert set(parsed.to_spec().services or ()) == set(SERVICES)


def test_every_part_of_the_shop_is_there() -> None:
    shop = {"order", "payment", "inventory", "shipping", "carrier", "notifications", "analytics"}
    assert set(SERVICES) == shop | {"orchestrator-1", "orchestrator-2", "rabbitmq", "redis", "mail"}


@pytest.mark.parametrize("name", SERVICES)
def test_names_a_version_of_its_image(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].partition(":")
    assert tag
    assert name in OURS or tag != "latest"


@pytest.mark.parametrize("name", SERVICES)
def test_can_tell_whether_it_is_well(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", SERVICES)
def test_waits_for_the_health_of_what_it_needs(name: str) -> None:
    needed = dict(SERVICES[name].get("depends_on") or {})
    assert set(needed) <= set(SERVICES)
    assert all(condition == {"condition": "service_healthy"} for condition in needed.values())


@pytest.mark.parametrize("name", sorted(set(OURS) - {"carrier"}))
def test_a_role_waits_for_broker_and_store(name: str) -> None:
    assert {"rabbitmq", "redis"} <= set(OURS[name]["depends_on"])


def test_addresses_name_services() -> None:
    hosts = {"AMQP_URL": "rabbitmq", "REDIS_URL": "redis", "CHOROS_SMTP": "mail", "CHOROS_CARRIER_URL": "carrier"}
    for variable, host in hosts.items():
        assert host in COMPOSE["x-environment"][variable]
        assert host in SERVICES


def test_redis_loses_nothing_it_has_acknowledged() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    for setting in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert setting in command


def test_every_database_survives_its_container_and_is_its_own() -> None:
    databases = [s["environment"]["CHOROS_DATABASE"] for s in OURS.values() if "CHOROS_DATABASE" in s["environment"]]
    assert len(databases) == len(set(databases)) == 7
    for name in ("order", "payment", "inventory", "shipping", "carrier", "notifications", "analytics"):
        assert OURS[name]["environment"]["CHOROS_DATABASE"] == f"sqlite:////data/{name}.db"
        assert OURS[name]["volumes"] == [f"{name}:/data"]
        assert name in COMPOSE["volumes"]


def test_ports_are_open_to_this_machine_only() -> None:
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("name", OURS)
def test_runs_a_module_that_exists(name: str) -> None:
    service = OURS[name]
    module = service["entrypoint"][2] if "entrypoint" in service else service["command"][1]
    assert importlib.util.find_spec(module), f"{name} runs {module}"


def test_the_image_does_not_run_as_root() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    assert "USER 10001" in lines
    assert 'ENTRYPOINT ["choros"]' in lines

"""Resources of a service, open for as long as a process runs it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from choros.app.resources import Resource, Resources
from choros.app.service import Service
from choros.errors import EXITS, ChorosError, Misconfigured
from choros.telemetry.logs import get_logger

log = get_logger(__name__)
MOST_SAID = 300


@asynccontextmanager
async def opened_resources(service: Service) -> AsyncIterator[Resources]:
    """What its lifespans make, in the order in which they are declared, but for what is given in their place; closed in
    the opposite order. Raises Misconfigured where one does not open."""
    async with AsyncExitStack() as stack:
        made = {
            kind: await stack.enter_async_context(_opened(f"service {service.name!r}: {resource.name}", resource))
            for kind, resource in service.resources.items()
            if kind not in service.given
        }
        yield {**made, **service.given}


@asynccontextmanager
async def _opened(what: str, resource: Resource) -> AsyncIterator[Any]:
    context = resource.open()
    try:
        made = await context.__aenter__()
    except (*EXITS, asyncio.CancelledError, ChorosError):
        raise
    except BaseException as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:MOST_SAID].rstrip(".: ")
        raise Misconfigured(f"{what} did not open its resource ({said}).", "look at what it opens.") from error
    try:
        yield made
    finally:
        try:
            await context.__aexit__(None, None, None)
        except Exception as error:
            log.error("choros.resource.not_closed", resource=what, error=error)

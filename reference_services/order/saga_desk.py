"""The order desk on choros: every order is one run of the order saga."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from choros import Client, Failure, OutcomePending, Saga
from reference_services.contracts import PlaceOrder
from reference_services.order.desk import Progress, StepProgress
from reference_services.order.saga import order_saga


class SagaDesk:
    """Places orders by starting sagas; the orchestrators carry them out."""

    def __init__(self, client: Client, saga: Saga[PlaceOrder] = order_saga) -> None:
        self._client, self._saga = client, saga

    async def place(self, order: PlaceOrder, *, traceparent: str = "", tracestate: str = "") -> str:
        return await self._client.start(self._saga, order, traceparent=traceparent, tracestate=tracestate)

    async def wait(self, saga_id: str, seconds: float) -> None:
        with suppress(OutcomePending):
            await self._client.wait(saga_id, timeout=timedelta(seconds=seconds))

    async def progress(self, saga_id: str) -> Progress:
        instance = (await self._client.show(saga_id)).instance
        return Progress(
            saga_id,
            instance.status,
            Failure.from_json(instance.failure).code if instance.failure else "",
            tuple(StepProgress(path, instance.state(path).progress) for path in self._saga.outline.leaves),
        )

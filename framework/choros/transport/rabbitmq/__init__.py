"""The transport on RabbitMQ: aio-pika's plain `connect()`, kept up by a supervisor of our own."""

from choros.transport.rabbitmq.transport import RabbitMQTransport

__all__ = ["RabbitMQTransport"]

"""Creates the clients of one Kafka cluster."""

from __future__ import annotations

from collections.abc import Sequence

from streams.connect.broker.kafka.admin import KafkaAdmin
from streams.connect.broker.kafka.batches.decompression import BATCH_BYTES_MAX
from streams.connect.broker.kafka.connection import KafkaConnection
from streams.connect.broker.kafka.consumer import KafkaConsumer
from streams.connect.broker.kafka.producers.plain_producer import KafkaPlainProducer
from streams.connect.broker.kafka.producers.transactional_producer import KafkaTransactionalProducer
from streams.connect.broker.kafka.reader import KafkaReader
from streams.connect.broker.kafka.security import KafkaSecurity
from streams.core.settings import Settings


class KafkaBroker:
    """`Broker` on Apache Kafka. ``bootstrap`` is ``host:port[,host:port]``. Use all clients on one
    event loop."""

    def __init__(
        self,
        bootstrap: str,
        *,
        session_timeout_s: float = 30.0,
        request_timeout_s: float = 10.0,
        transaction_timeout_s: float = 60.0,
        batch_bytes_max: int = BATCH_BYTES_MAX,
        security: KafkaSecurity | None = None,
    ) -> None:
        self._connection = KafkaConnection(
            bootstrap=bootstrap,
            security=security or KafkaSecurity(),
            session_timeout_s=session_timeout_s,
            request_timeout_s=request_timeout_s,
            transaction_timeout_s=transaction_timeout_s,
            batch_bytes_max=batch_bytes_max,
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> KafkaBroker:
        """Raises `UsageError` for unusable credentials."""
        return cls(
            settings.kafka_bootstrap,
            session_timeout_s=settings.session_timeout_s,
            # Longer than the owner's wait, so that the broker does not abort a commit that is
            # awaited.
            transaction_timeout_s=2 * settings.commit_timeout_s,
            batch_bytes_max=settings.batch_max_bytes,
            security=KafkaSecurity.from_settings(settings),
        )

    def consumer(self, group: str, topics: Sequence[str], instance_id: str) -> KafkaConsumer:
        return KafkaConsumer(self._connection, group, topics, instance_id)

    async def reader(self) -> KafkaReader:
        reader = KafkaReader(self._connection)
        await reader.start()
        return reader

    def transactional_producer(self, transactional_id: str) -> KafkaTransactionalProducer:
        return KafkaTransactionalProducer(self._connection, transactional_id)

    def plain_producer(self) -> KafkaPlainProducer:
        return KafkaPlainProducer(self._connection)

    async def admin(self) -> KafkaAdmin:
        admin = KafkaAdmin(self._connection)
        await admin.start()
        return admin

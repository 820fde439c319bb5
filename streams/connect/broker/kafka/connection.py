"""Address, deadlines and fetch sizes of the Kafka clients."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from streams.connect.broker.kafka.batches.decompression import BATCH_BYTES_MAX
from streams.connect.broker.kafka.security import KafkaSecurity
from streams.core.process.process_memory import MMAP_THRESHOLD_BYTES

CLIENT_ID = "dia"
MAX_REQUEST_BYTES = 8 << 20
"""above every topic's ``max.message.bytes``, so that the broker's limit applies"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConnection:
    """Shared by all clients of one `KafkaBroker`."""

    bootstrap: str
    security: KafkaSecurity = field(default_factory=KafkaSecurity)
    request_timeout_s: float = 10.0
    session_timeout_s: float = 30.0
    transaction_timeout_s: float = 60.0
    """The broker aborts a transaction after this time without a request; until then it blocks
    readers."""
    fetch_max_wait_s: float = 0.05
    """By how much the broker may delay a fetch below ``fetch_min_bytes``, a seek or a resume."""
    fetch_min_bytes: int = 64 << 10
    """Some thousand events: the cost of a fetch hardly depends on their number."""
    fetch_max_bytes: int = MMAP_THRESHOLD_BYTES * 3 // 4
    """Of one answer, some 30,000 events. Its copies stay on the heap, where the next answer takes
    their pages; the kernel would clear new ones for a larger answer."""
    partition_fetch_max_bytes: int = 2 << 20
    batch_bytes_max: int = BATCH_BYTES_MAX
    """of one uncompressed batch; a larger one is `BatchUnreadable`"""
    metadata_max_age_s: float = 30.0
    """longest time until consumers see new partitions of a topic"""

    def client_options(self) -> dict[str, Any]:
        return {
            "bootstrap_servers": self.bootstrap,
            "client_id": CLIENT_ID,
            "request_timeout_ms": round(self.request_timeout_s * 1000),
            "metadata_max_age_ms": round(self.metadata_max_age_s * 1000),
            # The default of 100 ms adds a tail of 135 ms to every transaction.
            "retry_backoff_ms": 20,
            **self.security.client_options(),
        }

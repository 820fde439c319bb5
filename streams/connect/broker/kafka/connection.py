"""Where the broker is, and how long anyone waits for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from streams.connect.broker.kafka.decompression import BATCH_BYTES_MAX
from streams.connect.broker.kafka.security import KafkaSecurity

CLIENT_ID = "dia"
MAX_REQUEST_BYTES = 8 << 20
"""The client's own limit must not speak before the topic's ``max.message.bytes`` does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConnection:
    """Address, deadlines and fetch sizes shared by all clients of one `KafkaBroker`."""

    bootstrap: str
    security: KafkaSecurity = field(default_factory=KafkaSecurity)
    request_timeout_s: float = 10.0
    session_timeout_s: float = 30.0
    transaction_timeout_s: float = 60.0
    """How long the broker leaves a silent owner's transaction open, holding readers back."""
    fetch_max_wait_s: float = 0.05
    """How long the broker may hold a fetch that has less than ``fetch_min_bytes``: it delays a
    record, a seek or a resume by as much."""
    fetch_min_bytes: int = 64 << 10
    """Some thousand events: a fetch costs as much for ten, and so does what becomes of them."""
    fetch_max_bytes: int = 50 << 20
    partition_fetch_max_bytes: int = 2 << 20
    batch_bytes_max: int = BATCH_BYTES_MAX
    """Bytes of one batch when it is opened; a larger one is `BatchUnreadable`."""
    metadata_max_age_s: float = 30.0
    """How long a grown topic may go unnoticed by its consumers."""

    def client_options(self) -> dict[str, Any]:
        """Arguments every aiokafka client takes."""
        return {
            "bootstrap_servers": self.bootstrap,
            "client_id": CLIENT_ID,
            "request_timeout_ms": round(self.request_timeout_s * 1000),
            "metadata_max_age_ms": round(self.metadata_max_age_s * 1000),
            # The default of 100 ms puts a tail of 135 ms on every transaction.
            "retry_backoff_ms": 20,
            **self.security.client_options(),
        }

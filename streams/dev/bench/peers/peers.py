"""Alternatives of a user, as data; the programs are in tests/bench/peers.

Each does the same job with its public API: drop repeated ids, count and sum the rest in minute
windows of (tenant, model, metric). Floors only fetch and decode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Job: TypeAlias = Literal["windows", "floor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """``folder`` in tests/bench/peers holds its program, which may have a ``variant``. ``guarantee`` is
    what its documentation promises of the state after a crash."""

    title: str
    folder: str
    package: str
    job: Job
    guarantee: str
    variant: str = ""

    @property
    def name(self) -> str:
        return f"{self.folder}_{self.variant}" if self.variant else self.folder


PEERS: tuple[Peer, ...] = (
    Peer(
        title="Kafka Streams",
        folder="kafka_streams",
        package="kafka-streams",
        job="windows",
        guarantee="exactly once (exactly_once_v2, processor API)",
    ),
    Peer(
        title="Kafka Streams, in memory",
        folder="kafka_streams",
        package="kafka-streams",
        job="windows",
        guarantee="exactly once; a restart reads the whole changelog",
        variant="memory",
    ),
    Peer(
        title="Flink",
        folder="flink_datastream",
        package="flink-streaming-java",
        job="windows",
        guarantee="exactly once (DataStream API, incremental checkpoints)",
    ),
    Peer(
        title="Flink, in memory",
        folder="flink_datastream",
        package="flink-streaming-java",
        job="windows",
        guarantee="exactly once; whole checkpoints each 10 s",
        variant="memory",
    ),
    Peer(
        title="Hazelcast Jet",
        folder="hazelcast_jet",
        package="hazelcast",
        job="windows",
        guarantee="exactly once while a member lives: snapshots are in memory",
    ),
    Peer(
        title="Pathway",
        folder="pathway_tables",
        package="pathway",
        job="windows",
        guarantee="at least once (exactly once in a paid edition)",
    ),
    Peer(
        title="ClickHouse's Kafka engine",
        folder="clickhouse_kafka",
        package="chdb",
        job="windows",
        guarantee="at least once; repeats are dropped by the query at the end",
    ),
    Peer(
        title="Quix Streams",
        folder="quix_streams",
        package="quixstreams",
        job="windows",
        guarantee="exactly once",
    ),
    Peer(
        title="Bytewax",
        folder="bytewax_dataflow",
        package="bytewax",
        job="windows",
        guarantee="state exactly once, output at least once",
    ),
    Peer(
        title="Faust",
        folder="faust_streaming",
        package="faust-streaming",
        job="windows",
        guarantee="at least once: counts twice after a crash",
    ),
    Peer(
        title="aiokafka, public API",
        folder="floor_aiokafka",
        package="aiokafka",
        job="floor",
        guarantee="-",
    ),
    Peer(
        title="librdkafka",
        folder="floor_librdkafka",
        package="confluent-kafka",
        job="floor",
        guarantee="-",
    ),
)

"""Properties of MirrorMaker 2 for one region: it copies the sources of every other region into it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from streams.core.records import headers
from streams.operate.regions.declared import Regions

_TRANSFORMS = "org.apache.kafka.connect.transforms"

_COMMON = {
    "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
    # The broker's default, as for every topic of dia.
    "replication.factor": "-1",
    "offset.storage.replication.factor": "-1",
    "config.storage.replication.factor": "-1",
    "status.storage.replication.factor": "-1",
    "offset.storage.partitions": "1",
    "status.storage.partitions": "1",
    # `dia topics apply` declares topics, `dia topics grant` rights, and groups are each region's own.
    "sync.topic.configs.enabled": "false",
    "sync.topic.acls.enabled": "false",
    "sync.group.offsets.enabled": "false",
    "emit.checkpoints.enabled": "false",
    "emit.heartbeats.enabled": "false",
    "emit.offset-syncs.enabled": "false",
    "heartbeats.topic.replication.factor": "-1",
    "checkpoints.topic.replication.factor": "-1",
    "refresh.topics.interval.seconds": "30",
    "tasks.max": "4",
}

_FLOW = {
    # One transaction a second, not one for each fetch.
    "transaction.boundary": "interval",
    "transaction.boundary.interval.ms": "1000",
    "predicates": "mirrored,repaired",
    "predicates.mirrored.type": f"{_TRANSFORMS}.predicates.HasHeaderKey",
    "predicates.mirrored.name": headers.MIRRORED,
    "predicates.repaired.type": f"{_TRANSFORMS}.predicates.HasHeaderKey",
    "predicates.repaired.name": headers.REPLAY_HOPS,
    "transforms": "foreign,repairs,mark",
    "transforms.foreign.type": f"{_TRANSFORMS}.Filter",
    "transforms.foreign.predicate": "mirrored",
    "transforms.repairs.type": f"{_TRANSFORMS}.Filter",
    "transforms.repairs.predicate": "repaired",
    "transforms.mark.type": f"{_TRANSFORMS}.InsertHeader",
    "transforms.mark.header": headers.MIRRORED,
    # No value: the converter of headers takes bytes, and this transform makes none.
    "transforms.mark.value.literal": "null",
}
"""Of a flow from one region. Predicates and transforms are those of `mirrored.is_copied`."""


def mirror_properties(regions: Regions, topics: Sequence[str], record_bytes: int) -> dict[str, str]:
    """``topics``: the sources. ``record_bytes``: the largest record batch of one. Without
    credentials: clusters that need them take ``REGION.security.protocol`` and others beside these."""
    own, found = regions.own, {"clusters": ",".join(regions.every)}
    found[f"{own}.exactly.once.source.support"] = "enabled"
    for name, region in regions.every.items():
        found |= {
            f"{name}.bootstrap.servers": region.bootstrap,
            # Aborted records of a source are copied to nowhere.
            f"{name}.consumer.isolation.level": "read_committed",
            f"{name}.consumer.max.partition.fetch.bytes": str(record_bytes),
            f"{name}.producer.max.request.size": str(record_bytes),
            f"{name}.producer.compression.type": "lz4",
        }
    for source in regions.every:
        for target in regions.every:
            if source != target:
                found[f"{source}->{target}.enabled"] = str(target == own).lower()
    for source in regions.others:
        flow = f"{source}->{own}."
        found[flow + "topics"] = ",".join(map(re.escape, topics))
        found |= {flow + key: value for key, value in _FLOW.items()}
    return found | _COMMON

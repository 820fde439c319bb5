"""The topic of metrics: one whose events have the fields of one observation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from streams.connect.access.refusals import UnknownResource
from streams.core.topics.topic import Topic

_FIELDS: Final = ("event_id", "tenant_id", "model_id", "metric", "ts", "value")


def metric_topic(topics: Iterable[Topic], named: str = "") -> Topic:
    """The one that is ``named``; for "", the first that fits. Raises `UnknownResource`."""
    for topic in topics:
        if named in {"", topic.name} and _fits(topic):
            return topic
    raise UnknownResource(
        f"DIA_METRICS_TOPIC={named} names no topic that agents read with the fields "
        f"{', '.join(_FIELDS)}, and no other required ones"
    )


def _fits(topic: Topic) -> bool:
    if not (isinstance(topic.type, type) and issubclass(topic.type, msgspec.Struct)):
        return False
    fields = msgspec.structs.fields(topic.type)
    required = {one.encode_name for one in fields if one.required}
    return required <= {*_FIELDS} <= {one.encode_name for one in fields}

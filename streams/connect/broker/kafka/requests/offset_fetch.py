"""The OffsetFetch request, version 7 (KIP-447), which aiokafka 0.14 lacks.

It can require stable offsets: the coordinator answers UNSTABLE_OFFSET_COMMIT while a transaction
that commits an offset of the group is open or lacks its marker. A coordinator that loads, or has
moved, answers with an error code and no topics."""
# pyright: reportIncompatibleMethodOverride=false, reportAssignmentType=false
# aiokafka declares a response's constants as properties but sets them as attributes.

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import aiokafka.errors as client
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

from streams.connect.broker.kafka.requests.codes import IncompleteAnswerError, passes, raise_for
from streams.core.types import CommittedOffset, TopicPartition


class _Response(Response):  # type: ignore[misc]  # aiokafka is untyped
    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition_index", Int32),
                        ("committed_offset", Int64),
                        ("committed_leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class _Struct(RequestStruct):  # type: ignore[misc]  # aiokafka is untyped
    FLEXIBLE_VERSION = True
    API_KEY = 9
    API_VERSION = 7
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        ("group_id", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("partition_indexes", CompactArray(Int32)),
                ("tags", TaggedFields),
            ),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class OffsetFetch(Request[_Struct]):  # type: ignore[misc]  # aiokafka is untyped
    API_KEY = 9

    def __init__(self, group: str, partitions: Iterable[TopicPartition], *, stable: bool) -> None:
        self._group = group
        self._asked = frozenset(partitions)
        self._stable = stable

    def build(self, request_struct_class: Any) -> Any:
        by_topic: dict[str, list[int]] = {}
        for topic, partition in sorted(self._asked):
            by_topic.setdefault(topic, []).append(partition)
        no_tags: dict[int, bytes] = {}
        topics = [(topic, partitions, no_tags) for topic, partitions in by_topic.items()]
        return request_struct_class(self._group, topics, self._stable, no_tags)

    def take(self, response: Any, told: dict[TopicPartition, CommittedOffset]) -> None:
        """Add each requested offset to ``told``, -1 where none is committed; then raise the
        client's error for a code, or `IncompleteAnswerError` for a missing partition."""
        raise_for(response.error_code, self._group)
        refused: dict[TopicPartition, int] = {}
        for topic, partitions, _ in response.topics or ():
            for partition, offset, _, metadata, code, _ in partitions:
                tp = TopicPartition(topic, partition)
                if code:
                    refused[tp] = code
                elif tp in self._asked:
                    told[tp] = CommittedOffset(offset, metadata or "")
        # Final codes first: others cause a retry.
        for tp, code in sorted(refused.items(), key=lambda one: passes(client.for_code(one[1])())):
            raise_for(code, f"{self._group} {tp}")
        if left_out := self._asked - set(told):
            raise IncompleteAnswerError(f"{self._group}: nothing about {min(left_out)}")

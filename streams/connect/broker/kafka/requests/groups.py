"""The DescribeGroups request, version 4 (KIP-345).

aiokafka 0.14 sends version 3, parses it with the wrong type, and has no instance ids. Every error
code is raised, so a loading coordinator is never read as an empty group. GROUP_ID_NOT_FOUND (69)
and the state Dead mean an unknown group."""
# pyright: reportIncompatibleMethodOverride=false, reportAssignmentType=false
# aiokafka declares a response's constants as properties but sets them as attributes.

from __future__ import annotations

from typing import Any

import aiokafka.errors as client
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Bytes, Int16, Int32, Schema, String

from streams.core.types import GroupDescription, MemberDescription, TopicPartition

GROUP_ID_NOT_FOUND = 69
_SETTLED = frozenset({"Stable", "Empty", "Dead"})
"""In the other states the answer's assignments are not those that members hold."""


class _Response(Response):  # type: ignore[misc]  # aiokafka is untyped
    API_KEY = 15
    API_VERSION = 4
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            Array(
                ("error_code", Int16),
                ("group", String("utf-8")),
                ("state", String("utf-8")),
                ("protocol_type", String("utf-8")),
                ("protocol", String("utf-8")),
                (
                    "members",
                    Array(
                        ("member_id", String("utf-8")),
                        ("group_instance_id", String("utf-8")),
                        ("client_id", String("utf-8")),
                        ("client_host", String("utf-8")),
                        ("member_metadata", Bytes),
                        ("member_assignment", Bytes),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
    )


class _Struct(RequestStruct):  # type: ignore[misc]  # aiokafka is untyped
    API_KEY = 15
    API_VERSION = 4
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(("groups", Array(String("utf-8"))), ("include_authorized_operations", Boolean))


class DescribeGroup(Request[_Struct]):  # type: ignore[misc]  # aiokafka is untyped
    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class([self._group], False)


async def describe_group(admin: Any, group: str) -> GroupDescription:
    """``admin`` is a started `AIOKafkaAdminClient`. Raises the client's error for the answer's
    code; some are retriable."""
    node = await admin.find_coordinator(group)
    response = await admin._send_request_to_node(node, DescribeGroup(group))  # noqa: SLF001  # pinned
    return description(group, response.groups)


def description(group: str, answered: Any) -> GroupDescription:
    """Raises the client's error for the entry's code, and `KafkaError` for a missing entry."""
    for code, name, state, _type, _protocol, members, _operations in answered:
        if name != group:
            continue
        if code == GROUP_ID_NOT_FOUND:
            return GroupDescription(group, stable=True, members=())
        if code:
            raise client.for_code(code)(f"group {group}")
        stable = state in _SETTLED
        return GroupDescription(
            group,
            stable=stable,
            members=tuple(
                MemberDescription(
                    member_id, instance_id or "", _assigned(raw) if stable else frozenset()
                )
                for member_id, instance_id, _client, _host, _metadata, raw in members
            ),
        )
    raise client.KafkaError(f"the answer does not name group {group}")


def _assigned(raw: bytes) -> frozenset[TopicPartition]:
    if not raw:
        return frozenset()
    assignment = ConsumerProtocolMemberAssignment.decode(raw)
    return frozenset(TopicPartition(*tp) for tp in assignment.partitions())

"""The IncrementalAlterConfigs request (KIP-339), which aiokafka 0.14 lacks.

AlterConfigs, which it has, resets every value that the request does not name.
"""
# pyright: reportIncompatibleMethodOverride=false, reportAssignmentType=false
# aiokafka declares a response's constants as properties but sets them as attributes.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

_SET = 0


class _Response(Response):  # type: ignore[misc]  # aiokafka is untyped
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "responses",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class _Struct(RequestStruct):  # type: ignore[misc]  # aiokafka is untyped
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                (
                    "configs",
                    Array(
                        ("name", String("utf-8")),
                        ("config_operation", Int8),
                        ("value", String("utf-8")),
                    ),
                ),
            ),
        ),
        ("validate_only", Boolean),
    )


class IncrementalAlterConfigs(Request[_Struct]):  # type: ignore[misc]  # aiokafka is untyped
    API_KEY = 44

    def __init__(self, topic: str, config: Mapping[str, str]) -> None:
        self._topic = topic
        self._config = config

    def build(self, request_struct_class: Any) -> Any:
        entries = [(name, _SET, value) for name, value in self._config.items()]
        resource = (int(ConfigResourceType.TOPIC), self._topic, entries)
        return request_struct_class([resource], False)

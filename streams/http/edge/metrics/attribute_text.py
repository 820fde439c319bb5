"""Attributes of OTLP as text, the same for JSON and Protobuf."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Any

import msgspec


def plain_text(value: Any) -> str:
    """Of a value of JSON's types or bytes, which an attribute's value is."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return msgspec.json.encode(value).decode()


def sorted_labels(pairs: Iterable[tuple[str, Any]]) -> list[tuple[str, str]]:
    """Ascending by name; of one name twice the last, as of a map."""
    return sorted((name, plain_text(value)) for name, value in dict(pairs).items())

"""Support for faust.Record as a value type, without importing Faust."""

from __future__ import annotations

from typing import Any, Final

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})


def is_record(value_type: Any) -> bool:
    return hasattr(value_type, "asdict") and hasattr(value_type, "from_data")


def plain(value: Any) -> Any:
    """Each faust.Record, nested ones included, becomes a map."""
    if type(value) in _SCALARS:
        return value
    if hasattr(value, "asdict"):
        return {name: plain(one) for name, one in value.asdict().items()}
    if isinstance(value, list | tuple):
        return [*map(plain, value)]
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return value

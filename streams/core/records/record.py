"""`Record`: the base of a user's event types.

    class Order(Record):
        account: str
        amount: float
        note: str | None = None
        ts: int

A `msgspec.Struct` with keyword-only fields, so defaults may come in any order. Options of
`msgspec.Struct` (``frozen``, ``rename``, ``forbid_unknown_fields``...) are class keywords.
"""

from __future__ import annotations

from typing import Any, dataclass_transform

import msgspec


class RecordMeta(msgspec.StructMeta):
    """`msgspec.Struct` does not inherit ``kw_only``."""

    def __new__(
        mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> Any:
        return super().__new__(mcls, name, bases, namespace, **{"kw_only": True, **options})


@dataclass_transform(kw_only_default=True, field_specifiers=(msgspec.field,))
class Record(msgspec.Struct, metaclass=RecordMeta):
    """See the module docstring."""

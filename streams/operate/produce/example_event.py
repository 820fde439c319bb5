"""An example event of a topic, made from its declared type.

Values come from ``Meta(examples=[...])`` of a field, else from its type, bounds and name. The pipeline's own
decoder judges each example, so none is shown that would be refused."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import inspect

from streams.core.errors import UsageError
from streams.core.topics.topic import TENANT_FIELD, Topic
from streams.engine.decode.codecs import Limits, outgoing, settled

_DEPTH_MAX: Final = 4
"""of types that contain themselves"""
_TENANT: Final = "acme"
_IDENTITIES: Final = frozenset({"id", "event_id", "idempotency_key", "request_id", "result_id"})
_BYTES: Final = base64.b64encode(b"example").decode()
_TIME_ENDS: Final = ("_ms", "_ts", "_at")


async def example_lines(
    topic: Topic, version: int, count: int, now_ms: int, limits: Limits
) -> list[bytes]:
    """JSON lines of ``count`` events with distinct ids, a millisecond apart, the last one at ``now_ms``.

    Raises `UsageError` for a type of which no valid example can be made, and `SchemaRegistryUnavailable`."""
    kind = inspect.type_info(topic.versions[version])
    lines = [
        msgspec.json.encode(
            _Example(topic, now_ms - count + number, number).value(kind, topic.schema, 0)
        )
        for number in range(1, count + 1)
    ]
    judged, _, _ = await settled(partial(outgoing, topic, lines, now_ms, limits, version))
    if judged.bad:
        bad = judged.bad[0]
        raise UsageError(
            f"no example of {topic.schema} can be made from its type: {bad.code}: {bad.message}. Declare "
            f"one for that field: Annotated[str, Meta(examples=[...])]. `dia schemas show {topic.schema}` "
            "has the schema."
        )
    return lines


@dataclass(frozen=True, slots=True)
class _Example:
    topic: Topic
    at_ms: int
    number: int

    def value(self, kind: Any, name: str, depth: int) -> Any:
        """``name``: of the field that holds it."""
        if isinstance(kind, inspect.Metadata):
            examples = (kind.extra_json_schema or {}).get("examples")
            return examples[0] if examples else self.value(kind.type, name, depth)
        if (nested := _NESTED.get(type(kind))) is not None:
            return nested(self, kind, name, depth)
        if (plain := _PLAIN.get(type(kind))) is not None:
            return plain(self, kind)
        raise UsageError(
            f"no example of {self.topic.schema} can be made: its type is not one of JSON's. "
            f"`dia topics tail {self.topic.name} -o json` shows real ones."
        )

    def object(self, kind: Any, _: str, depth: int) -> dict[str, Any]:
        found = {kind.tag_field: kind.tag} if getattr(kind, "tag_field", None) else {}
        for field in kind.fields:
            if not field.required and depth > _DEPTH_MAX:
                continue
            default = getattr(field, "default", msgspec.NODEFAULT)
            given = default not in (None, msgspec.UNSET, msgspec.NODEFAULT)
            encoded = field.encode_name
            found[encoded] = default if given else self.value(field.type, encoded, depth + 1)
        return found

    def union(self, kind: inspect.UnionType, name: str, depth: int) -> Any:
        return self.value(_first(kind), name, depth)

    def mapping(self, kind: inspect.DictType, name: str, depth: int) -> dict[Any, Any]:
        if depth > _DEPTH_MAX or isinstance(kind.value_type, inspect.AnyType):
            return {}
        key = self.value(kind.key_type, name.removesuffix("s"), depth + 1)
        return {key: self.value(kind.value_type, name, depth + 1)}

    def tuple(self, kind: inspect.TupleType, name: str, depth: int) -> list[Any]:
        return [self.value(item, name, depth + 1) for item in kind.item_types]

    def collection(self, kind: inspect.CollectionType, name: str, depth: int) -> list[Any]:
        filled = max(kind.min_length or 0, int(depth <= _DEPTH_MAX))
        return [self.value(kind.item_type, name, depth + 1) for _ in range(filled)]

    def text(self, kind: inspect.StrType, name: str, _: int) -> str:
        text = f"{name.removesuffix('_id')}-1"
        if name == TENANT_FIELD:
            text = _TENANT
        elif name in _IDENTITIES:
            text = f"example-{self.at_ms}"
        return text[: kind.max_length].ljust(kind.min_length or 0, "x")

    def whole(self, kind: inspect.IntType, name: str, _: int) -> int:
        if name in (self.topic.time_field, "ts") or name.endswith(_TIME_ENDS):
            return self.at_ms
        return self.number if name in _IDENTITIES else int(_clamped(1, kind))

    @property
    def moment(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.at_ms / 1000, dt.UTC)


_NESTED: Final[dict[type, Callable[[_Example, Any, str, int], Any]]] = {
    inspect.StructType: _Example.object,
    inspect.DataclassType: _Example.object,
    inspect.TypedDictType: _Example.object,
    inspect.UnionType: _Example.union,
    inspect.DictType: _Example.mapping,
    inspect.TupleType: _Example.tuple,
    inspect.ListType: _Example.collection,
    inspect.SetType: _Example.collection,
    inspect.FrozenSetType: _Example.collection,
    inspect.VarTupleType: _Example.collection,
    inspect.StrType: _Example.text,
    inspect.IntType: _Example.whole,
}
_PLAIN: Final[dict[type, Callable[[_Example, Any], Any]]] = {
    inspect.FloatType: lambda _, kind: _clamped(0.5, kind),
    inspect.LiteralType: lambda _, kind: kind.values[0],
    inspect.EnumType: lambda _, kind: next(iter(kind.cls)).value,
    inspect.BoolType: lambda _, kind: True,
    inspect.NoneType: lambda _, kind: None,
    inspect.BytesType: lambda _, kind: _BYTES,
    inspect.ByteArrayType: lambda _, kind: _BYTES,
    inspect.MemoryViewType: lambda _, kind: _BYTES,
    inspect.DateTimeType: lambda example, _: example.moment,
    inspect.DateType: lambda example, _: example.moment.date(),
    inspect.TimeType: lambda example, _: example.moment.time(),
    inspect.TimeDeltaType: lambda _, kind: "PT1M",
    inspect.UUIDType: lambda example, _: f"00000000-0000-4000-8000-{example.at_ms % 10**12:012d}",
    inspect.DecimalType: lambda _, kind: "1.50",
    inspect.AnyType: lambda _, kind: {},
}


def _first(kind: inspect.UnionType) -> Any:
    """Of its types, one that is not null."""
    return next((one for one in kind.types if not isinstance(one, inspect.NoneType)), kind.types[0])


def _clamped(wanted: float, kind: inspect.IntType | inspect.FloatType) -> float:
    low = kind.ge if kind.ge is not None else kind.gt
    high = kind.le if kind.le is not None else kind.lt
    step = kind.multiple_of or 1
    if low is not None and wanted <= low:
        wanted = low if kind.ge is not None else low + step
    if high is not None and wanted >= high:
        wanted = high if kind.le is not None else high - step
    if kind.multiple_of:
        wanted = -(-wanted // step) * step
    return wanted

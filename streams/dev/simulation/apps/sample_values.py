"""Random values of a declared type, from few names so that keys repeat."""

from __future__ import annotations

import random
import typing
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import inspect

from streams.core.errors import UsageError
from streams.core.formats.registry_codec import RegistryCodec
from streams.core.records.faust_values import is_record
from streams.core.topics.topic import Topic

_NAMES = tuple(f"k{number}" for number in range(6))
_DEPTH_MAX = 6
_UNKNOWN: Any = object()


def sample(topic: Topic, rng: random.Random, now_ms: int) -> Any:
    """A JSON value; its time field is ``now_ms``. Raises `UsageError` for an unsupported type."""
    message = getattr(topic.type, "DESCRIPTOR", None)
    value = _message(message, rng, 0) if message is not None else _of_type(topic.type, rng, 0)
    if topic.time_field:
        value[topic.time_field] = now_ms
    return value


def event_of(topic: Topic, value: Any) -> Any:
    if not isinstance(topic.codec, RegistryCodec):
        return value
    read = topic.codec.documents.decoder(topic.type)([msgspec.json.encode(value)])
    if read.failed:
        raise UsageError(f"no value of topic {topic.name} can be made up: {read.failed[0].message}")
    return read.events[0]


def _message(descriptor: Any, rng: random.Random, depth: int) -> dict[str, Any]:
    """Maps and innermost messages stay empty."""
    made: dict[str, Any] = {}
    for field in descriptor.fields:
        inner = field.message_type
        if inner is not None and (
            inner.GetOptions().map_entry or depth > 2 or inner.file.package.startswith("google.")
        ):
            continue
        count = rng.randint(0, 3) if field.is_repeated else 1
        values = [
            _message(inner, rng, depth + 1) if inner is not None else _proto_scalar(field, rng)
            for _ in range(count)
        ]
        if field.containing_oneof is None or not made.keys() & {
            other.name for other in field.containing_oneof.fields
        }:
            made[field.name] = values if field.is_repeated else values[0]
    return made


def _proto_scalar(field: Any, rng: random.Random) -> Any:
    if field.cpp_type == field.CPPTYPE_STRING:
        # JSON has bytes as Base64
        return rng.choice(_NAMES) if field.type == field.TYPE_STRING else "aGk="
    if field.cpp_type == field.CPPTYPE_BOOL:
        return rng.choice([False, True])
    if field.cpp_type == field.CPPTYPE_ENUM:
        return rng.choice([value.number for value in field.enum_type.values])
    if field.cpp_type in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT):
        return round(rng.uniform(0, 100), 3)
    return rng.randint(0, 100)


def _of_type(kind: Any, rng: random.Random, depth: int) -> Any:
    if is_record(kind):
        hints = typing.get_type_hints(kind)
        return {name: _of_type(hint, rng, depth + 1) for name, hint in hints.items()}
    if kind is str and depth == 0:
        return " ".join(rng.choices(_NAMES, k=rng.randint(1, 5)))
    return _made(inspect.type_info(kind), rng, depth)


def _made(info: inspect.Type, rng: random.Random, depth: int) -> Any:
    makers = (_scalar, _structure, _several)
    for maker in makers:
        made = maker(info, rng, depth)
        if made is not _UNKNOWN:
            return made
    raise UsageError(
        f"no value of {info!r} can be made up for a simulation. Give the topic a type of text, "
        f"numbers, lists, maps and Records."
    )


def _scalar(info: inspect.Type, rng: random.Random, depth: int) -> Any:
    if isinstance(info, inspect.IntType | inspect.FloatType):
        return _number(info, rng)
    if isinstance(info, inspect.StrType):
        return _text(info, rng)
    if isinstance(info, inspect.DateTimeType):
        moment = datetime.fromtimestamp(1_760_000_000 + rng.random() * 1e5, UTC)
        return moment.isoformat()
    choices: Any = None
    if isinstance(info, inspect.AnyType):
        choices = [rng.randint(0, 9), rng.choice(_NAMES)]
    elif isinstance(info, inspect.NoneType):
        choices = [None]
    elif isinstance(info, inspect.BoolType):
        choices = [False, True]
    elif isinstance(info, inspect.LiteralType):
        choices = info.values
    elif isinstance(info, inspect.EnumType):
        choices = [one.value for one in info.cls]
    return _UNKNOWN if choices is None else rng.choice(choices)


def _structure(info: inspect.Type, rng: random.Random, depth: int) -> Any:
    if isinstance(info, inspect.StructType | inspect.DataclassType | inspect.TypedDictType):
        return {
            one.encode_name: _made(one.type, rng, depth + 1)
            for one in info.fields
            if one.required or rng.random() < 0.5
        }
    if isinstance(info, inspect.UnionType):
        # None ends a recursive type
        ends = [one for one in info.types if isinstance(one, inspect.NoneType)]
        return _made(rng.choice(ends if depth > _DEPTH_MAX and ends else info.types), rng, depth)
    return _UNKNOWN


def _several(info: inspect.Type, rng: random.Random, depth: int) -> Any:
    count = rng.randint(0, 0 if depth > _DEPTH_MAX else 3)
    if isinstance(info, inspect.ListType | inspect.SetType | inspect.VarTupleType):
        return [_made(info.item_type, rng, depth + 1) for _ in range(count)]
    if isinstance(info, inspect.TupleType):
        return [_made(one, rng, depth + 1) for one in info.item_types]
    if isinstance(info, inspect.DictType):
        keys = [str(_made(info.key_type, rng, depth + 1)) for _ in range(count)]
        return {key: _made(info.value_type, rng, depth + 1) for key in keys}
    return _UNKNOWN


def _number(info: inspect.IntType | inspect.FloatType, rng: random.Random) -> float:
    low = info.ge if info.ge is not None else info.gt + 1 if info.gt is not None else 0
    high = info.le if info.le is not None else info.lt - 1 if info.lt is not None else low + 100
    if isinstance(info, inspect.IntType):
        return rng.randint(int(low), int(max(low, high)))
    return round(rng.uniform(low, high), 3)


def _text(info: inspect.StrType, rng: random.Random) -> str:
    text = rng.choice(_NAMES)
    text += "x" * max(0, (info.min_length or 0) - len(text))
    text = text[: info.max_length] if info.max_length is not None else text
    if info.pattern is not None:
        try:
            msgspec.convert(text, typing.Annotated[str, msgspec.Meta(pattern=info.pattern)])
        except msgspec.ValidationError:
            raise UsageError(
                f"no text that matches {info.pattern!r} can be made up for a simulation"
            ) from None
    return text

"""Message classes that leave parts of a message as bytes.

A field that is declared as bytes reads what a message of it was written as. So labels, which repeat,
are read once for each distinct text of theirs, and a request makes no tree of small objects."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

_SCALARS: Final = {
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "string": FieldDescriptorProto.TYPE_STRING,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
}


def lean(file: FileDescriptorProto, unread: Collection[str], message: str) -> type[Any]:
    """The class of ``message`` of ``file``, whose fields named ``unread`` hold bytes."""
    changed = FileDescriptorProto()
    changed.CopyFrom(file)
    for one in changed.message_type:
        _unread(one, unread)
    return _of(changed, f"{file.package}.{message}")


def _unread(message: DescriptorProto, unread: Collection[str]) -> None:
    for field in message.field:
        if field.name in unread and field.type == FieldDescriptorProto.TYPE_MESSAGE:
            field.type = FieldDescriptorProto.TYPE_BYTES
            field.ClearField("type_name")
    for inner in message.nested_type:
        _unread(inner, unread)


def declared(
    package: str, messages: Iterable[tuple[str, Iterable[tuple[int, str, str]]]], name: str
) -> type[Any]:
    """The class of the message ``name`` among ``messages``: names, each with its fields: number,
    name, and type. A type is a scalar or another message; with a star it repeats."""
    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for message, fields in messages:
        made = file.message_type.add(name=message)
        for number, field, kind in fields:
            added = made.field.add(name=field, number=number, label=1 + 2 * kind.endswith("*"))
            scalar = _SCALARS.get(kind.rstrip("*"))
            if scalar is None:
                added.type = FieldDescriptorProto.TYPE_MESSAGE
                added.type_name = f".{package}.{kind.rstrip('*')}"
            else:
                added.type = scalar
    return _of(file, f"{package}.{name}")


def _of(file: FileDescriptorProto, name: str) -> type[Any]:
    pool = descriptor_pool.DescriptorPool()
    file.ClearField("dependency")
    pool.AddSerializedFile(file.SerializeToString())
    found: type[Any] = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    return found

"""Protobuf messages for tests, made without protoc: two versions of an order, and a refund."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

_TYPES: Final = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
}


def message_class(
    name: str, fields: dict[str, tuple[str, int]], *, others: tuple[str, ...] = ()
) -> Any:
    """A message ``acme.{name}``, after empty ones named ``others``; each has its own file and pool."""
    file = FileDescriptorProto(name=f"{name.lower()}.proto", package="acme", syntax="proto3")
    for other in others:
        file.message_type.add(name=other)
    message = file.message_type.add(name=name)
    for field, (kind, number) in fields.items():
        message.field.add(
            name=field,
            number=number,
            type=_TYPES[kind],
            label=FieldDescriptorProto.LABEL_OPTIONAL,
        )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"acme.{name}"))


ORDER = {"account": ("string", 1), "amount": ("double", 2), "ts": ("int64", 3)}
Order = message_class("Order", ORDER, others=("Empty",))
NewerOrder = message_class("Order", ORDER | {"note": ("string", 4)}, others=("Empty",))
Refund = message_class("Refund", {"account": ("string", 1)})

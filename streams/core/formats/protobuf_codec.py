"""Protobuf with a schema registry, by Google's library.

The topic's type is a generated message class. Bodies are read by field numbers: unknown fields are
ignored, missing ones have their default. The message named by a record must be that of the
class."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError, EncodeError, Message

from streams.core.errors import UsageError
from streams.core.formats.codec import BatchDecoder, Codec, no_other_way, read_all
from streams.core.formats.proto_messages import Path, messages_of
from streams.core.formats.registry_codec import RegistryCodec, Unfit, ValueReader, incompatible
from streams.core.formats.schema_source import (
    RegisteredSchema,
    SchemaKind,
    SchemaReference,
    Subject,
)
from streams.core.formats.wire_format import HEADER_BYTES, read_indexes, written_indexes
from streams.core.records.bad_records import BodyUnfit, InvalidJson, MissingField
from streams.core.records.defects import Defect, defect, undecodable


@dataclass(frozen=True)
class Protobuf:
    """``schema``: the text of the .proto file; default, the serialized file of the class. Other
    arguments as in `Avro`; a file that imports your others needs ``references``."""

    schema: str = ""
    subject: str = ""
    register: bool = True
    references: tuple[SchemaReference, ...] = ()

    def codec(self, topic: str, value_type: Any) -> ProtobufCodec:
        """Raises `UsageError` for a type that is no message class, or not in ``schema``."""
        _check_message(topic, value_type)
        descriptor = value_type.DESCRIPTOR
        text = self.schema or b64encode(descriptor.file.serialized_pb).decode()
        try:
            found = _messages(text)
        except ValueError as error:
            raise UsageError(f"topic {topic}: {error}") from None
        paths = [path for path, name in found.items() if name == descriptor.full_name]
        if not paths:
            raise UsageError(
                f"topic {topic}: its Protobuf schema has no message {descriptor.full_name}; it has "
                f"{', '.join(found.values()) or 'none'}."
            )
        name = self.subject or f"{topic}-value"
        writer = Subject(name, "PROTOBUF", text, self.register, self.references)
        return ProtobufCodec(topic, value_type, writer, written_indexes(paths[0]))


class ProtobufCodec(RegistryCodec):
    kind: ClassVar[SchemaKind] = "PROTOBUF"
    name = "protobuf"
    errors = (*RegistryCodec.errors, DecodeError)

    @property
    def documents(self) -> Codec:
        return _DOCUMENTS

    def __init__(self, topic: str, value_type: Any, writer: Subject, indexes: bytes) -> None:
        super().__init__(topic, value_type, writer)
        self._indexes = indexes

    def check(self, value_type: Any) -> None:
        _check_message(self.topic, value_type)

    def reader(self, value_type: Any, schema: RegisteredSchema) -> ValueReader:
        messages = _messages(schema.text)
        wanted, parse = value_type.DESCRIPTOR.full_name, value_type.FromString

        def read(value: bytes) -> Any:
            path, at = read_indexes(value, HEADER_BYTES)
            found = messages.get(path)
            if found != wanted:
                raise incompatible(
                    f"expected a message {wanted}, got {found or f'one that is not there, {path}'}"
                )
            return _whole(parse(memoryview(value)[at:]))

        return read

    def body(self, event: Any) -> bytes:
        if not isinstance(event, self.value_type):
            raise TypeError(
                f"topic {self.topic} takes messages {self.value_type.DESCRIPTOR.full_name}, not "
                f"{type(event).__name__}"
            )
        try:
            return self._indexes + bytes(event.SerializeToString())
        except EncodeError as error:
            raise ValueError(str(error)) from None

    def unfit(self, error: Exception) -> Defect:
        what = f"the body is not what its schema describes: {error}"
        return defect(BodyUnfit.code, "$", what)


class ProtobufJson:
    name = "json"
    text = True

    def decoder(self, value_type: Any) -> BatchDecoder:
        def parse(value: bytes | None) -> Any:
            try:
                return _whole(json_format.Parse(value or b"", value_type(), max_recursion_depth=90))
            except json_format.ParseError as error:
                raise ValueError(str(error)) from None

        return lambda values: read_all(parse, values, no_other_way, _document_defect)

    def encode(self, event: Any) -> bytes:
        text: str = json_format.MessageToJson(event, preserving_proto_field_name=True, indent=None)
        return text.encode()


_DOCUMENTS: Final = ProtobufJson()
"""readers are cached by topic and codec"""


def _document_defect(value: bytes | None, error: Exception) -> Defect:
    if isinstance(error, Unfit):
        return error.found
    if not value:
        return undecodable(value, error)
    return defect(InvalidJson.code, "$", f"expected the JSON of a message: {error}")


def _whole(message: Any) -> Any:
    """``message``, if it has every required field of Protobuf 2."""
    if not message.IsInitialized():
        name = message.FindInitializationErrors()[0]
        raise Unfit(defect(MissingField.code, f"$.{name}", "this field is required"))
    return message


def _messages(text: str) -> Mapping[Path, str]:
    """Of a .proto file or of its Base64 serialized form. Raises `ValueError`."""
    try:
        file = FileDescriptorProto.FromString(b64decode(text, validate=True))
    except (ValueError, DecodeError):
        return messages_of(text)
    found: dict[Path, str] = {}
    pending: list[tuple[Path, str, Any]] = [
        ((index,), file.package, one) for index, one in enumerate(file.message_type)
    ]
    while pending:
        path, prefix, message = pending.pop()
        name = f"{prefix}.{message.name}" if prefix else message.name
        found[path] = name
        inner = enumerate(message.nested_type)
        pending += [((*path, index), name, one) for index, one in inner]
    return found


def _check_message(topic: str, value_type: Any) -> None:
    if not (isinstance(value_type, type) and issubclass(value_type, Message)):
        raise UsageError(
            f"topic {topic}: the codec protobuf reads messages: declare the topic with value_type= a class "
            f"that protoc generated."
        )

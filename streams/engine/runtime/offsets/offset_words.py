"""Structs about partitions in the offset metadata of a group without members: readable on every
host, and replaced atomically."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from streams.core.types import Admin, CommittedOffset, TopicPartition, TransactionalProducer

W = TypeVar("W", bound=msgspec.Struct)


async def read(
    admin: Admin, register: str, partitions: Iterable[TopicPartition], kind: type[W]
) -> dict[TopicPartition, W]:
    """The last word of each partition in the group ``register``. A partition without a word, or
    with foreign metadata, is absent."""
    committed = await admin.committed(register, partitions)
    words = {tp: _decoded(found, kind) for tp, found in committed.items()}
    return {tp: word for tp, word in words.items() if word is not None}


async def write(
    producer: TransactionalProducer,
    register: str,
    words: Mapping[TopicPartition, tuple[int, msgspec.Struct]],
) -> None:
    """Write all words, each with its offset, in one transaction of a started producer.

    Raises `ProducerFenced` or `CommitInDoubt`.
    """
    offsets = {
        tp: CommittedOffset(offset, msgspec.json.encode(word).decode())
        for tp, (offset, word) in words.items()
    }
    await producer.begin()
    await producer.send_offsets(offsets, register)
    await producer.commit()


def _decoded(committed: CommittedOffset, kind: type[W]) -> W | None:
    try:
        return msgspec.json.decode(committed.metadata, type=kind)
    except (ValueError, RecursionError):
        return None

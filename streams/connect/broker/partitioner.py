"""The partition of a key: Kafka's default, murmur2 over the key bytes
(org.apache.kafka.common.utils.Utils.murmur2, public domain). Deduplication is per partition, so
every producer of a topic must use it."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_SEED: Final = 0x9747B28C
_MIX: Final = 0x5BD1E995
_WORD: Final = 0xFFFFFFFF
_POSITIVE: Final = 0x7FFFFFFF


_REMEMBERED_BYTES: Final = 256
"""A cached key stays in memory."""


def murmur2(key: bytes) -> int:
    """As an unsigned 32-bit integer."""
    return _remembered(key) if len(key) <= _REMEMBERED_BYTES else _hashed(key)


# Keys are tenants or models: few, each used thousands of times.
@lru_cache(maxsize=1 << 16)
def _remembered(key: bytes) -> int:
    return _hashed(key)


def _hashed(key: bytes) -> int:
    length = len(key)
    state = _SEED ^ length
    whole = length & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * _MIX & _WORD
        word ^= word >> 24
        state = (state * _MIX & _WORD) ^ (word * _MIX & _WORD)
    if whole < length:
        state = (state ^ int.from_bytes(key[whole:], "little")) * _MIX & _WORD
    state = (state ^ state >> 13) * _MIX & _WORD
    return state ^ state >> 15


def partition_of(key: bytes, partitions: int) -> int:
    return (murmur2(key) & _POSITIVE) % partitions

"""A cached answer with its ETag: the digest is made once, not for each reader."""

from __future__ import annotations

from hashlib import sha256
from typing import Self


class TaggedAnswer(bytes):
    """An encoded JSON object."""

    tag: str

    def __new__(cls, body: bytes) -> Self:
        made = super().__new__(cls, body)
        made.tag = tag_of(body)
        return made


def tag_of(body: bytes) -> str:
    """Weak: the compression layer answers the same body in two forms."""
    return f'W/"{sha256(body).hexdigest()}"'

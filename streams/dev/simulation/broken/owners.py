"""Engines that lose the owner of what an agent's table holds, shown by apps whose closing windows write beyond a
tenant's share (any_app.py)."""

from __future__ import annotations

from collections.abc import Mapping

from streams.dev.simulation.variant import Variant, replaced
from streams.engine.runtime.partition.stream_partition import StreamPartition
from streams.engine.state import key_owners, keyed
from streams.engine.state.key_owners import Author, Owner


def _of_no_tenant(data: bytes) -> tuple[Owner, bytes]:
    """A restart finds no owner."""
    return "", key_owners.owned_value(data)[1]


def _unmarked(owner: Owner) -> bytes:
    """A commit writes no owner."""
    del owner
    return b""


_author = vars(StreamPartition)["author"].fget


def _closes_of_no_tenant(self: StreamPartition) -> Author:
    author: Author = "" if self._closing.in_progress else _author(self)
    return author


VARIANTS: Mapping[str, Variant] = {
    "owners_not_restored": replaced(keyed, owned_value=_of_no_tenant),
    "owners_not_written": replaced(keyed, owner_mark=_unmarked),
    "closes_of_no_tenant": replaced(StreamPartition, author=property(_closes_of_no_tenant)),
}

"""How many keys of an agent's table each tenant has made: the rule of shares.py for tables.

The owner of a key is the tenant whose event made it. Owners are kept in memory only: after a restart the
keys that are there count for no tenant. They take room from all tenants until they are deleted, and the
rule leaves some to each. Events that name no tenant make keys of no owner, which nothing refuses.
"""

from __future__ import annotations

from collections.abc import Collection

from streams.core.records.bad_records import TenantOverQuota
from streams.engine.state.shares import Holdings, room
from streams.engine.state.table_values import Key


class KeyShares:
    """Of one table in one partition."""

    def __init__(self) -> None:
        self._owner: dict[Key, str] = {}
        self._held = Holdings()

    def check(self, table: str, tenant: str | None, count: int, alive: int, bound: int) -> None:
        """Raises `TenantOverQuota` where ``tenant`` may not make ``count`` keys more in a table of
        ``alive`` keys that has room for ``bound``. None: an event of several tenants, which may make them
        while half of the room is free."""
        if tenant == "":
            return
        free = room(bound, 0, alive, self._held[tenant] if tenant else 0)
        if count > (free if tenant else max(0, bound // 2 - alive)):
            raise TenantOverQuota(
                f"tenant {tenant!r} has its share of the keys of table {table!r} in one partition, which "
                f"has room for some {bound} (DIA_MAX_TABLE_BYTES). Delete keys, or let windows expire"
            )

    def take(self, tenant: str | None, keys: Collection[Key]) -> None:
        """The tenant made these keys."""
        if tenant:
            self._owner.update(dict.fromkeys(keys, self._held.name(tenant)))
            self._held[tenant] += len(keys)

    def give_back(self, key: Key) -> None:
        """A key was deleted."""
        tenant = self._owner.pop(key, None)
        if tenant is not None:
            self._held.give_back(tenant)

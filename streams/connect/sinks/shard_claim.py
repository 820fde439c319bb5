"""Which shard of which map a server holds: a row on the server, written by `dia migrate apply`.

Per server, at the first request of every connection:

 M1  read the claims of `shard_map_local`; without the table the server is not migrated, and the
     next statement fails with that reason
 M2  no claim: `dia migrate apply` inserts its own and reads again; a worker keeps its rows until
     there is one; a reader goes on
 M3  every claim must equal the shard number and the first map's digest of this process; else
     `ShardMapChanged`, before the request is sent

Of two processes that claim at once with different maps, the last reader finds both claims at M3 and
stops; the other stops at its next connection. An operator removes the wrong claim."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streams.core.errors import ShardMapChanged
from streams.core.rows.built_in_tables import MAP_HINT
from streams.core.rows.dated_map import MapIdentity

READ = "SELECT DISTINCT shard, digest, description FROM shard_map_local"
CLAIM = (
    "INSERT INTO shard_map_local (shard, digest, description) "
    "SELECT {shard:UInt32}, {digest:String}, {description:String}"
)

Claims = Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class ShardPlace:
    """Shard number ``shard`` of the map ``identity``."""

    shard: int
    identity: MapIdentity

    @property
    def parameters(self) -> Mapping[str, Any]:
        found = self.identity
        return {
            "shard": self.shard,
            "digest": found.digest,
            "description": found.description,
        }

    def settle(
        self, url: str, read: Callable[[], Claims], claim: Callable[[], None] | None
    ) -> bool:
        """M1 to M3; with ``claim`` None it only reads. True once the server has confirmed this
        place. Raises `ShardMapChanged`, and the errors of ``read`` and ``claim``."""
        claims = read()
        if not claims and claim is not None:
            claim()
            claims = read()
        self._refuse_others(url, claims)
        return bool(claims)

    def _refuse_others(self, url: str, claims: Iterable[Sequence[Any]]) -> None:
        for shard, digest, description in claims:
            if (int(shard), digest) != (self.shard, self.identity.digest):
                found = f"shard {shard} of {description} [{digest}]"
                mine = f"shard {self.shard} of {self.identity.description} [{self.identity.digest}]"
                raise ShardMapChanged(
                    f"ClickHouse at {url} holds {found}; here it is named as {mine}. {MAP_HINT}"
                )

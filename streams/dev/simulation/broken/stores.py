"""Engines that expect more of a local store after a kill than it holds
(streams/dev/simulation/broken/variants.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from streams.dev.simulation.variant import Variant, replaced
from streams.engine.runtime.restore.state import META_KEY, PartitionState
from streams.engine.runtime.restore.trim import ChangelogTrim
from streams.engine.state.changelog import Link
from streams.engine.state.table import Entry


def _written_is_flushed(self: ChangelogTrim, state: PartitionState) -> None:
    self._flushed_to = state.changelog_offset


def _place_first(
    real: Callable[..., None],
) -> Callable[[PartitionState, Link, int, int, Sequence[Entry]], None]:
    """The store's position is written before the entries of the link."""

    def applied(
        self: PartitionState, link: Link, first: int, following: int, entries: Sequence[Entry]
    ) -> None:
        store, batches = self.store, []

        class Held:
            def __getattr__(self, name: str) -> object:
                return getattr(store, name)

            def write(self, batch: list[tuple[bytes, bytes | None]]) -> None:
                batches.append(batch)

        self.store = Held()  # type: ignore[assignment] # for as long as one call
        try:
            real(self, link, first, following, entries)
        finally:
            self.store = store
        [batch] = batches
        store.write(entry for entry in batch if entry[0] == META_KEY)
        store.write(entry for entry in batch if entry[0] != META_KEY)

    return applied


BROKEN_STORES: Mapping[str, Variant] = {
    "trimmed_past_the_flushed_link": replaced(ChangelogTrim, _mark=_written_is_flushed),
    "link_written_in_two_batches": replaced(
        PartitionState, applied=_place_first(PartitionState.applied)
    ),
}

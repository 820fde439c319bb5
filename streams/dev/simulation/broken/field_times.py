"""Engines that keep the time of an event that does not count (broken/variants.py), shown by apps
with windows relative to a field (any_app.py)."""

from __future__ import annotations

from collections.abc import Mapping

from streams.dev.simulation.variant import Variant, replaced
from streams.engine.windows.windowed import WindowedTable


def _kept_until_the_next_write(self: WindowedTable, at_ms: int) -> None:
    """The time is noted before the write, and a write that is refused leaves it to the next event."""
    self._staged_time_ms = max(self._staged_time_ms, at_ms)


VARIANTS: Mapping[str, Variant] = {
    "time_of_a_refused_write_kept": replaced(WindowedTable, observe=_kept_until_the_next_write),
}

"""The load of consecutive records of a partition, as its link keeps it (docs/capacity.md).

A run is the records that were appended in one interval of `SLOT_MS`. It is identified by its first
offset, so the runs of an epoch cover its log once, also where the broker's clock goes back.
"""

from __future__ import annotations

from typing import Final

import msgspec

SLOT_MS: Final = 300_000
TENANTS_MAX: Final = 16
"""tenants with a place of their own in one run; the others share `REST`"""
RESERVED_MAX: Final = 12
"""the largest tenants of the run before, which keep their places"""
NAME_MAX: Final = 128
"""bytes of a tenant's name: a header holds `TENANTS_MAX` of them"""
REST: Final = ""


class LoadRun(msgspec.Struct, array_like=True, frozen=True):
    """``slot`` -1: no record yet. ``tenants``: events and bytes (keys and values) by tenant."""

    slot: int = -1
    from_offset: int = 0
    tenants: dict[str, tuple[int, int]] = {}

    @property
    def start_ms(self) -> int:
        """of its interval, since the epoch"""
        return self.slot * SLOT_MS

    @property
    def end_ms(self) -> int:
        return self.start_ms + SLOT_MS

    @property
    def events(self) -> int:
        return sum(events for events, _ in self.tenants.values())

    def reserved(self) -> dict[str, tuple[int, int]]:
        """Places of the next run."""
        named = ((size[0], name) for name, size in self.tenants.items() if name != REST and size[0])
        largest = sorted(named, key=lambda one: (-one[0], one[1]))
        return {name: (0, 0) for _, name in largest[:RESERVED_MAX]}

"""What a plan costs, from a file of the operator's own prices.

currency = "EUR"
processor_hour = 0.035
memory_gb_hour = 0.004
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

import msgspec

from streams.core.errors import UsageError

HOURS_A_MONTH: Final = 730.0
_GB: Final = 1e9


class Prices(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Each is at least 0; one that is absent costs nothing."""

    currency: str = ""
    processor_hour: float = 0.0
    memory_gb_hour: float = 0.0

    @classmethod
    def read(cls, path: Path) -> Prices:
        """Raises `UsageError` for a file that is no table of these prices."""
        try:
            found = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), cls)
        except (OSError, ValueError, msgspec.ValidationError) as error:
            raise UsageError(f"prices in {path} cannot be read: {error}.") from error
        if min(found.processor_hour, found.memory_gb_hour) < 0:
            raise UsageError(f"a price in {path} is below 0.")
        return found

    def of_processes(self, processes: float, memory_bytes: float) -> float:
        """A month of worker processes with one processor and ``memory_bytes`` each."""
        hour = self.processor_hour + self.memory_gb_hour * memory_bytes / _GB
        return processes * hour * HOURS_A_MONTH

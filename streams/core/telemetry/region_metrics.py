"""Metrics of regions, from the console of each."""

from __future__ import annotations

from streams.core.telemetry.declaring import Declare


class RegionMetrics:
    """Absent where no region is declared."""

    def __init__(self, declare: Declare) -> None:
        self.active = declare.gauge(
            "region_active", "1 while this region is the active one, else 0.", ("region",)
        )
        self.epoch = declare.gauge(
            "region_epoch", "Epoch of the newest word that is known; 0: none."
        )
        self.missing_records = declare.gauge(
            "region_mirror_missing_records",
            "Records of the active region that are not mirrored into this one; no sample while unknown.",
            ("source",),
        )
        self.missing_seconds = declare.gauge(
            "region_mirror_missing_seconds",
            "Age of the oldest of them: what would be lost now; no sample while unknown.",
            ("source",),
        )

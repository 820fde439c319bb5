"""The regions of an installation: a TOML file that is the same in every region.

    lease_s = 30

    [[region]]
    name = "east"
    bootstrap = "kafka.east:9092"
    edges = ["https://edge.east:8480"]

Every cluster takes the credentials of the DIA_KAFKA_* settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from streams.connect.broker.kafka.broker import KafkaBroker
from streams.core.errors import UsageError
from streams.core.settings import Settings
from streams.core.settings.meaning import wanted_brokers
from streams.core.types import Broker
from streams.core.words.near_names import did_you_mean

LEASE_MIN_S, LEASE_MAX_S = 5.0, 300.0
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
"""also a cluster alias of MirrorMaker, which separates aliases by dots and arrows"""


def is_name(text: str) -> bool:
    """Whether a region may have this name."""
    return _NAME.fullmatch(text) is not None


class Region(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``edges``: base URLs that a load balancer asks for ``/health/region``."""

    name: str
    bootstrap: str
    edges: tuple[str, ...] = ()


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    region: tuple[Region, ...]
    lease_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Regions:
    """``own`` is the region of this process. ``lease_s``: how long an edge serves after the last
    word that it read."""

    own: str
    every: Mapping[str, Region]
    lease_s: float

    @property
    def others(self) -> list[str]:
        return [name for name in self.every if name != self.own]

    def region(self, name: str) -> Region:
        """Raises `UsageError` for an unknown name."""
        if name not in self.every:
            raise UsageError(
                f"there is no region {name[:40]!r}; declared are {', '.join(self.every)}."
                + did_you_mean(name, self.every)
            )
        return self.every[name]

    def brokers(self, settings: Settings) -> dict[str, Broker]:
        """A broker for each region. That of the own one has this process's address."""
        return {
            name: KafkaBroker.from_settings(
                settings
                if name == self.own and settings.kafka_bootstrap
                else replace(settings, kafka_bootstrap=region.bootstrap)
            )
            for name, region in self.every.items()
        }


def regions_of(settings: Settings) -> Regions | None:
    """None where DIA_REGION is unset: one region, nothing to ask. Raises `UsageError` for a file
    that cannot be used."""
    if not settings.region:
        return None
    path = (
        Path(settings.regions_file)
        if settings.regions_file
        else settings.home_path() / "regions.toml"
    )
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise UsageError(
            f"DIA_REGION={settings.region} is set, and the regions cannot be read from {path}: "
            f"{error.strerror}. Write the file, or name it by DIA_REGIONS_FILE."
        ) from error
    except ValueError as error:  # of msgspec and of the TOML parser
        raise UsageError(f"the regions in {path} cannot be read: {error}. Correct it.") from error
    return _checked(settings.region, found, path)


def require_regions(settings: Settings) -> Regions:
    """Raises `UsageError` also where no region is declared."""
    found = regions_of(settings)
    if found is None:
        raise UsageError(
            "no region is declared: set DIA_REGION to the name of this one, and write "
            "regions.toml (docs/protocols/regions.md has its form)."
        )
    return found


def _checked(own: str, found: _File, path: Path) -> Regions:
    names = [region.name for region in found.region]
    for name in names:
        if not is_name(name):
            raise UsageError(
                f"{path}: the region name {name[:40]!r} is not 1 to 31 lower-case letters, digits "
                "and dashes. Rename it."
            )
    for region in found.region:
        if (wrong := wanted_brokers(region.bootstrap)) is not None:
            raise UsageError(f"{path}: the bootstrap of region {region.name} {wrong}. Correct it.")
    for url in (url for region in found.region for url in region.edges):
        if not url.startswith(("http://", "https://")):
            raise UsageError(
                f"{path}: the edge {url[:80]!r} does not begin with http:// or https://."
            )
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(
            f"{path} names {', '.join(names) or 'no region'}: two or more must differ."
        )
    if own not in names:
        near = did_you_mean(own, names)
        raise UsageError(f"DIA_REGION={own} is not one of {', '.join(names)} in {path}.{near}")
    if not LEASE_MIN_S <= found.lease_s <= LEASE_MAX_S:
        raise UsageError(
            f"{path}: lease_s = {found.lease_s:g} is out of range, allowed {LEASE_MIN_S:g} to "
            f"{LEASE_MAX_S:g}."
        )
    return Regions(own, {region.name: region for region in found.region}, found.lease_s)

"""Several regions on this machine: a stack each in HOME/regions/NAME, and HOME/regions/regions.toml, which
names them all (docs/protocols/regions.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from streams.core.errors import UsageError
from streams.core.process.atomic_file import write_atomically
from streams.dev.local.folder import StackFolder
from streams.dev.local.status import StackStatus
from streams.operate.regions.declared import is_name

LEASE_S = 30.0
_REGION = '[[region]]\nname = "{}"\nbootstrap = "{}"\n'


def write_regions(file: Path, lease_s: float, stacks: Mapping[str, StackStatus]) -> None:
    """``regions.toml`` of these regions."""
    regions = "".join(_REGION.format(name, one.kafka_bootstrap) for name, one in stacks.items())
    write_atomically(file, f"lease_s = {lease_s}\n{regions}".encode())


def up_regions(
    home: Path, names: Sequence[str], start: Callable[[Path], StackStatus]
) -> dict[str, StackStatus]:
    """``start`` a stack for each region. Commands in its home then take the region's name and the file. Run
    again, it starts what does not run, and writes the addresses anew.

    Raises `UsageError` unless two or more regions are named, and errors of ``start``."""
    for name in names:
        if not is_name(name):
            raise UsageError(
                f"--region {name[:40]!r} is not 1 to 31 lower-case letters, digits and dashes."
            )
    if len({*names}) < 2 or len({*names}) < len(names):
        raise UsageError("name each region of this machine: --region east --region west.")
    root = home.absolute() / "regions"
    stacks = {name: start(root / name) for name in names}
    file = root / "regions.toml"
    write_regions(file, LEASE_S, stacks)
    for name, one in stacks.items():
        folder = StackFolder.of(root / name)
        region = {"region": name, "regions_file": str(file)}
        write_atomically(folder.region, msgspec.json.encode(region))
        publish(folder, one)
    return stacks


def publish(folder: StackFolder, running: StackStatus) -> None:
    """Have commands in this home take the stack's addresses, and its region where it has one."""
    region: dict[str, str] = {}
    if folder.region.exists():
        region = msgspec.json.decode(folder.region.read_bytes(), type=dict[str, str])
    write_atomically(folder.published, msgspec.json.encode({**running.settings(), **region}))

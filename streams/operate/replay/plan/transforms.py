"""Transforms by name: functions of installed distributions, of the entry point group.

    [project.entry-points."dia.transforms"]
    numbers = "fixes:numbers"

where ``fixes.numbers`` is ``(Original) -> Original | None``. A plan names one, and the SHA-256 of
its file. Plans are untrusted: a module is imported only if its name is an entry point and its file
has that digest. Modules of the working folder are excluded."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeAlias, cast

from streams.core.errors import RefusedBySafety, UsageError
from streams.operate.dlq.dead_letter import Original
from streams.operate.replay.plan.plan import Transform


def tenant_as_key(record: Original) -> Original | None:
    """Built in, for records with a wrong key: sets the key to the event's tenant; None without
    one."""
    try:
        tenant = json.loads(record.value or b"")["tenant_id"]
    except (ValueError, TypeError, KeyError):
        return None
    return record._replace(key=tenant.encode()) if isinstance(tenant, str) else None


GROUP = "dia.transforms"
BUILT_IN = (
    EntryPoint("tenant-as-key", "streams.operate.replay.plan.transforms:tenant_as_key", GROUP),
)

Change: TypeAlias = Callable[[Original], Original | None]


def transform_of(name: str) -> Transform:
    """The current transform. Raises `UsageError`."""
    point = _point(name)
    found = Transform(name=name, sha256=_digest(point))
    _function(point)
    return found


def loaded(transform: Transform) -> Change:
    """Raises `RefusedBySafety` when the transform changed since planning, and `UsageError` when it
    cannot be loaded."""
    point = _point(transform.name)
    if _digest(point) != transform.sha256:
        raise RefusedBySafety(
            f"the transform {transform.name} was changed after the plan was made. A plan runs "
            f"exactly as it was shown; make another one: `dia replay plan`."
        )
    return _function(point)


def _point(name: str) -> EntryPoint:
    known: dict[str, EntryPoint] = {point.name: point for point in BUILT_IN}
    if name not in known:  # of two of one name the built-in one counts: a scan reads many files
        known |= {point.name: point for point in entry_points(group=GROUP)}
    if name not in known:
        raise UsageError(
            f"--transform {name}: no installed distribution has an entry point of that name in the "
            f"group {GROUP}. There are: {', '.join(sorted(known))}."
        )
    return known[name]


def _digest(point: EntryPoint) -> str:
    """The digest of the module's file, without importing it."""
    path = _file_of(point.module)
    try:
        content = Path(path).read_bytes() if path is not None else None
    except OSError:
        content = None
    if content is None:
        raise UsageError(
            f"--transform {point.name}: the module {point.module} has no file that can be read. "
            f"Install its distribution again."
        )
    return sha256(content).hexdigest()


def _file_of(module: str) -> str | None:
    """As `importlib.util.find_spec`, without importing parent packages."""
    found, above = None, None
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        found = _found(".".join(parts[:count]), above)
        if found is None:
            return None
        above = found.submodule_search_locations
    return found.origin if found is not None and found.has_location else None


def _found(module: str, above: Sequence[str] | None) -> Any:
    specs = (finder.find_spec(module, above, None) for finder in sys.meta_path)
    return next((spec for spec in specs if spec is not None), None)


def _function(point: EntryPoint) -> Change:
    try:
        function = point.load()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--transform {point.name} cannot be loaded: {error}.") from error
    if not callable(function):
        raise UsageError(f"--transform {point.name} is no function.")
    return cast("Change", function)

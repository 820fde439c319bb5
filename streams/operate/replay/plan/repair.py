"""The repair of a record before its replay: a JSON Patch, or a function of the user.

    def transform(record: Original) -> Original | None      (streams/operate/replay/plan/transforms.py)

None leaves the dead letter where it is. It must be deterministic: it runs when the plan is made,
and again when the plan runs."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonpatch
import jsonpointer
import msgspec

from streams.core.errors import UsageError
from streams.operate.dlq.dead_letter import Original
from streams.operate.replay.plan.plan import Terms
from streams.operate.replay.plan.transforms import loaded

_DIFF_LINES_MAX = 40


class RepairFailed(Exception):  # noqa: N818 - what happened to one letter, a reason in a plan
    """``code`` is the plan's reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Repair:
    def __init__(self, terms: Terms) -> None:
        """Raises `UsageError` for a transform that cannot be loaded or an invalid patch, and
        `RefusedBySafety` when the transform changed since planning."""
        self._change = loaded(terms.transform) if terms.transform is not None else None
        self._patch = _patch(terms.patch) if terms.patch else None

    @property
    def changes(self) -> bool:
        return self._change is not None or self._patch is not None

    def apply(self, original: Original) -> Original | None:
        """Patch first; None when the transform skips it. Raises `RepairFailed`."""
        if self._patch is not None:
            original = original._replace(value=_patched(self._patch, original.value))
        if self._change is None:
            return original
        try:
            changed = self._change(original)
        except Exception as error:
            what = f"the transform raised {type(error).__name__}: {error}"
            raise RepairFailed("transform_failed", what) from error
        if changed is not None and not isinstance(changed, Original):
            what = f"the transform returned {type(changed).__name__}, not an Original or None"
            raise RepairFailed("transform_failed", what)
        return changed


def _patched(patch: Any, value: bytes | None) -> bytes:
    try:
        document = msgspec.json.decode(value or b"")
    except (ValueError, RecursionError) as error:
        raise RepairFailed("patch_failed", f"the value is not valid JSON: {error}") from error
    try:
        return msgspec.json.encode(patch.apply(document, in_place=True))
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError) as error:
        raise RepairFailed("patch_failed", f"the patch does not fit: {error}") from error


def patch_of(text: str) -> tuple[dict[str, Any], ...]:
    """A JSON Patch from its text, or from the file named after ``@``. Raises `UsageError`."""
    try:
        raw = Path(text[1:]).read_bytes() if text.startswith("@") else text.encode()
        steps = msgspec.json.decode(raw, type=tuple[dict[str, Any], ...])
    except OSError as error:
        raise UsageError(f"--patch {text} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(
            f'--patch is not a JSON Patch: {error}. Write [{{"op": "replace", "path": "/metric", '
            f'"value": "x"}}], or @FILE.'
        ) from error
    _patch(steps)
    return steps


def difference(before: Original, after: Original) -> str:
    """The changes of a repair, line by line; "" without any."""
    if before == after:
        return ""
    lines = difflib.unified_diff(_lines(before), _lines(after), "as it failed", "mended", n=1)
    shown = [line.rstrip("\n") for line in lines]
    more = (
        [f"... {len(shown) - _DIFF_LINES_MAX} more lines"] if len(shown) > _DIFF_LINES_MAX else []
    )
    return "\n".join([*shown[:_DIFF_LINES_MAX], *more])


def _lines(record: Original) -> list[str]:
    key = "no key" if record.key is None else record.key.decode(errors="backslashreplace")
    value = record.value or b""
    try:
        text = msgspec.json.format(value, indent=2).decode()
    except ValueError:
        text = value.decode(errors="backslashreplace")
    named = [
        f"{name}: {content.decode(errors='backslashreplace')}" for name, content in record.headers
    ]
    return [f"key: {key}", *named, *text.splitlines()]


def _patch(steps: Sequence[dict[str, Any]]) -> Any:
    try:
        patch = jsonpatch.JsonPatch([dict(step) for step in steps])
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError) as error:
        raise UsageError(f"--patch is not a JSON Patch: {error}.") from error
    return patch

"""Wraps a user's decoder, so that no value ends the worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streams.core.errors import DiaError
from streams.core.formats.codec import BatchDecoder, Read
from streams.core.records.bad_records import CodecFailed
from streams.core.records.defects import Defect, defect


def guarded(decode: BatchDecoder) -> BatchDecoder:
    """If ``decode`` raises, values are decoded one by one, and each that raises, or gives neither
    event nor defect, is refused as `codec_failed`. Errors of the engine's tree and MemoryError pass
    through."""

    def read(values: Sequence[bytes | None]) -> Read:
        try:
            found = decode(values)
        except (DiaError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is one value's fault
            if len(values) == 1:
                what = f"the codec raised {type(error).__name__}: {error}"
                return Read([], {0: defect(CodecFailed.code, "$", what)})
            return _one_by_one(values)
        if len(found.events) + len(found.failed) == len(values):
            return found
        if len(values) == 1:
            what = f"the codec gave {len(found.events)} events for one value"
            return Read([], {0: defect(CodecFailed.code, "$", what)})
        return _one_by_one(values)

    def _one_by_one(values: Sequence[bytes | None]) -> Read:
        events: list[Any] = []
        failed: dict[int, Defect] = {}
        for index, value in enumerate(values):
            alone = read([value])
            events += alone.events
            failed.update((index, why) for why in alone.failed.values())
        return Read(events, failed)

    return read

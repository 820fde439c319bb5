"""The trace context of an event: the W3C header ``traceparent``
(https://www.w3.org/TR/trace-context/#traceparent-header). ``tracestate`` is dropped."""

from __future__ import annotations

import re
from typing import NamedTuple

_FORM = re.compile(
    rb"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    rb"(?P<more>-[!-~]*)?"
)
_SAMPLED = 1
_BYTES_MAX = 512


class TraceContext(NamedTuple):
    """A span, and whether it is recorded. ``trace_id`` has 128 bits, ``span_id`` 64; neither is
    0."""

    trace_id: int
    span_id: int
    sampled: bool

    @classmethod
    def read(cls, raw: bytes) -> TraceContext | None:
        """None for a header that the specification calls invalid."""
        found = _FORM.fullmatch(raw) if len(raw) <= _BYTES_MAX else None
        if found is None or found["version"] == b"ff":
            return None
        if found["version"] == b"00" and found["more"] is not None:
            return None  # only later versions may be longer
        trace_id, span_id = int(found["trace"], 16), int(found["span"], 16)
        if not trace_id or not span_id:
            return None
        return cls(trace_id, span_id, bool(int(found["flags"], 16) & _SAMPLED))

    @property
    def header(self) -> bytes:
        """As version 00."""
        return b"00-%032x-%016x-%02x" % (self.trace_id, self.span_id, self.sampled)

"""Prometheus remote write: prometheus.WriteRequest (1.0) and io.prometheus.write.v2.Request (2.0).

The messages are declared here with the fields that are read
(https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from google.protobuf.message import DecodeError

from streams.connect.access.refusals import BadRequest, BodyTooLarge
from streams.http.edge.metrics.lean_messages import declared
from streams.http.edge.metrics.point_events import UNSUPPORTED_POINT
from streams.http.edge.metrics.points import NOTHING, NumberPoints, Points, Reading, RefusedPoints
from streams.http.edge.metrics.series import Labels, NamedSeries, SeriesNaming

STEP_POINTS: Final = 1000
LABEL_CHARS_MAX: Final = 64 << 20
"""A symbol costs two bytes each time it is repeated, and its whole length to name a series."""
_NATIVE: Final = "native histograms are not taken: set send_native_histograms: false"
_SAMPLE: Final = ("Sample", ((1, "value", "double"), (2, "timestamp", "int64")))
_V1: Final = declared(
    "prometheus",
    (
        ("WriteRequest", ((1, "timeseries", "TimeSeries*"),)),
        (
            "TimeSeries",
            ((1, "labels", "Label*"), (2, "samples", "Sample*"), (4, "histograms", "bytes*")),
        ),
        ("Label", ((1, "name", "string"), (2, "value", "string"))),
        _SAMPLE,
    ),
    "WriteRequest",
)
_V2: Final = declared(
    "io.prometheus.write.v2",
    (
        ("Request", ((4, "symbols", "string*"), (5, "timeseries", "TimeSeries*"))),
        (
            "TimeSeries",
            ((1, "labels_refs", "uint32*"), (2, "samples", "Sample*"), (3, "histograms", "bytes*")),
        ),
        _SAMPLE,
    ),
    "Request",
)
_PER_MS: Final = 1


def read_v1(body: bytes, naming: SeriesNaming) -> Reading:
    """Raises `BadRequest`."""
    request = _read(_V1, body)
    return _steps(
        request.timeseries,
        lambda one: naming.prometheus(_sorted((at.name, at.value) for at in one.labels)),
    )


def read_v2(body: bytes, naming: SeriesNaming) -> Reading:
    """Raises `BadRequest`, also for labels that are no symbols of the request."""
    request = _read(_V2, body)
    symbols: Sequence[str] = [*request.symbols]
    chars = 0

    def series(one: Any) -> NamedSeries:
        nonlocal chars
        refs = [*one.labels_refs]
        if len(refs) % 2 or (refs and max(refs) >= len(symbols)):
            raise BadRequest("labels_refs of a series are no pairs of symbols of the request")
        texts = [symbols[ref] for ref in refs]
        chars += sum(map(len, texts))
        if chars > LABEL_CHARS_MAX:
            raise BodyTooLarge(
                f"labels of a request have at most {LABEL_CHARS_MAX} characters, repeated ones "
                "counted each time; send smaller batches"
            )
        return naming.prometheus(_sorted(zip(texts[::2], texts[1::2], strict=True)))

    return _steps(request.timeseries, series)


def _read(message: type[Any], body: bytes) -> Any:
    try:
        return message.FromString(body)
    except DecodeError as error:
        name = message.DESCRIPTOR.full_name
        raise BadRequest(f"the body is no {name}: {error}") from None


def _sorted(labels: Any) -> Labels:
    """An empty value is an absent label."""
    return sorted((name, value) for name, value in labels if value)


def _steps(timeseries: Any, series: Callable[[Any], NamedSeries]) -> Iterator[Points]:
    names: list[NamedSeries] = []
    samples: list[Any] = []
    for one in timeseries:
        if one.histograms:
            yield RefusedPoints(len(one.histograms), UNSUPPORTED_POINT, _NATIVE)
        held = one.samples
        if held:
            named = series(one)
            for start in range(0, len(held), STEP_POINTS):
                piece = held[start : start + STEP_POINTS]
                names += [named] * len(piece)
                samples += piece
                if len(samples) >= STEP_POINTS:
                    yield _numbers(names, samples)
                    names, samples = [], []
        else:
            yield NOTHING
    yield _numbers(names, samples)


def _numbers(names: list[NamedSeries], samples: list[Any]) -> NumberPoints:
    times = [sample.timestamp for sample in samples]
    return NumberPoints(names, times, [sample.value for sample in samples], _PER_MS)

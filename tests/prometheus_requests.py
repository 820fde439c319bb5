"""Messages of Prometheus remote write, with all the fields that a sender sets, in declarations that
are apart from those of the edge."""

from __future__ import annotations

from streams.http.edge.metrics.lean_messages import declared

_SAMPLE = ("Sample", ((1, "value", "double"), (2, "timestamp", "int64")))
WriteRequest = declared(
    "tests.v1",
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
Request = declared(
    "tests.v2",
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

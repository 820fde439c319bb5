"""The public face of dia: what a pipeline of your own is written with.

    from streams import App, Record

    app = App("acme")

Every name in ``__all__`` is documented where it is defined and stays; other modules are the
engine's own. A name is imported at its first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from streams.agent import AgentSpec, Change, EventBatch, Scope
    from streams.app import App
    from streams.clickhouse_table import ClickHouseTable, Column
    from streams.errors import UnsupportedByDia
    from streams.formats.avro_codec import Avro
    from streams.formats.codec import Codec
    from streams.formats.json_schema_codec import JsonSchema
    from streams.formats.protobuf_codec import Protobuf
    from streams.formats.schema_source import SchemaReference
    from streams.job_agent import Answer, Ask, JobAgent, Outcome, Performer, Place, Resources
    from streams.record import Record
    from streams.row_sink import RowBatch, RowSink
    from streams.stream import Event, Stream
    from streams.topic import Need, Topic
    from streams.types import OutboundRecord, TopicPartition
    from streams.window_aggregates import AggregatedWindows, ClosedWindow
    from tables.aggregates.distinct import Distinct
    from tables.aggregates.ends import First, Last
    from tables.aggregates.extremes import Max, Min
    from tables.aggregates.moments import Mean, Variance
    from tables.aggregates.quantiles import Quantiles
    from tables.aggregates.sums import Count, Sum
    from tables.aggregates.top_k import TopK

__all__ = [
    "AgentSpec",
    "AggregatedWindows",
    "Answer",
    "App",
    "Ask",
    "Avro",
    "Change",
    "ClickHouseTable",
    "ClosedWindow",
    "Codec",
    "Column",
    "Count",
    "Distinct",
    "Event",
    "EventBatch",
    "First",
    "JobAgent",
    "JsonSchema",
    "Last",
    "Max",
    "Mean",
    "Min",
    "Need",
    "OutboundRecord",
    "Outcome",
    "Performer",
    "Place",
    "Protobuf",
    "Quantiles",
    "Record",
    "Resources",
    "RowBatch",
    "RowSink",
    "SchemaReference",
    "Scope",
    "Stream",
    "Sum",
    "TopK",
    "Topic",
    "TopicPartition",
    "UnsupportedByDia",
    "Variance",
]

_MODULES: Final = {
    **dict.fromkeys(("AgentSpec", "Change", "EventBatch", "Scope"), "streams.agent"),
    **dict.fromkeys(
        ("Answer", "Ask", "JobAgent", "Outcome", "Performer", "Place", "Resources"),
        "streams.job_agent",
    ),
    **dict.fromkeys(("ClickHouseTable", "Column"), "streams.clickhouse_table"),
    **dict.fromkeys(("Event", "Stream"), "streams.stream"),
    **dict.fromkeys(("Need", "Topic"), "streams.topic"),
    **dict.fromkeys(("RowBatch", "RowSink"), "streams.row_sink"),
    **dict.fromkeys(("OutboundRecord", "TopicPartition"), "streams.types"),
    **dict.fromkeys(("AggregatedWindows", "ClosedWindow"), "streams.window_aggregates"),
    **dict.fromkeys(("Count", "Sum"), "tables.aggregates.sums"),
    **dict.fromkeys(("First", "Last"), "tables.aggregates.ends"),
    **dict.fromkeys(("Max", "Min"), "tables.aggregates.extremes"),
    **dict.fromkeys(("Mean", "Variance"), "tables.aggregates.moments"),
    "App": "streams.app",
    "Codec": "streams.formats.codec",
    "Distinct": "tables.aggregates.distinct",
    "Quantiles": "tables.aggregates.quantiles",
    "Record": "streams.record",
    "TopK": "tables.aggregates.top_k",
    "SchemaReference": "streams.formats.schema_source",
    "UnsupportedByDia": "streams.errors",
}
_DECLARATIONS: Final = {"Avro": "avro", "JsonSchema": "json_schema", "Protobuf": "protobuf"}
"""Codecs that need a package of their own; without it, the error says which."""


def __getattr__(name: str) -> Any:
    if name in _DECLARATIONS:
        named = import_module("streams.formats.named")
        return named.declaration(_DECLARATIONS[name])
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]

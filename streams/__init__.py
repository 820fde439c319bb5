"""The public face of dia: what a pipeline of your own is written with.

    from streams import App, Record

    app = App("acme")

Every name in ``__all__`` is documented where it is defined and stays; other modules are the
engine's own. A name is imported at its first use, and this module imports nothing: it runs before
`dia` can handle Ctrl-C.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from streams.core.errors import UnsupportedByDia
    from streams.core.formats.avro_codec import Avro
    from streams.core.formats.codec import Codec
    from streams.core.formats.json_schema_codec import JsonSchema
    from streams.core.formats.protobuf_codec import Protobuf
    from streams.core.formats.schema_source import SchemaReference
    from streams.core.records.record import Record
    from streams.core.rows.clickhouse_table import ClickHouseTable, Column
    from streams.core.rows.row_sink import RowBatch, RowSink
    from streams.core.topics.topic import Need, Topic
    from streams.core.types import OutboundRecord, TopicPartition
    from streams.engine.agents.agent import AgentSpec, Change, EventBatch, Scope
    from streams.engine.agents.job_agent import (
        Answer,
        Ask,
        JobAgent,
        Outcome,
        Performer,
        Place,
        Resources,
    )
    from streams.engine.agents.queue_policy import QueuePolicy
    from streams.engine.aggregates.distinct import Distinct
    from streams.engine.aggregates.ends import First, Last
    from streams.engine.aggregates.extremes import Max, Min
    from streams.engine.aggregates.moments import Mean, Variance
    from streams.engine.aggregates.quantiles import Quantiles
    from streams.engine.aggregates.sums import Count, Sum
    from streams.engine.aggregates.top_k import TopK
    from streams.engine.app.app import App
    from streams.engine.engine_tables import SEEN_EVENTS
    from streams.engine.scenarios.monte_carlo import MONTE_CARLO
    from streams.engine.scenarios.policy_threshold import POLICY_THRESHOLD
    from streams.engine.scenarios.replay_metrics import REPLAY_METRICS
    from streams.engine.scenarios.scenario import Run, Scenario
    from streams.engine.streams.series_windows import Series
    from streams.engine.streams.stream import Event, Stream
    from streams.engine.streams.window_aggregates import AggregatedWindows, ClosedWindow
    from streams.http.edge.client import EdgeClient
    from streams.http.edge.training.trainers.keras_callback import keras_callback
    from streams.http.edge.training.trainers.lightgbm_callback import lightgbm_callback
    from streams.http.edge.training.trainers.lightning_logger import lightning_logger
    from streams.http.edge.training.trainers.mlflow_runs import MlflowContext, follow_mlflow
    from streams.http.edge.training.trainers.transformers_callback import transformers_callback
    from streams.http.edge.training.trainers.xgboost_callback import xgboost_callback
    from streams.http.edge.training.training_log import TrainingLog

__all__ = [
    "MONTE_CARLO",
    "POLICY_THRESHOLD",
    "REPLAY_METRICS",
    "SEEN_EVENTS",
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
    "EdgeClient",
    "Event",
    "EventBatch",
    "First",
    "JobAgent",
    "JsonSchema",
    "Last",
    "Max",
    "Mean",
    "Min",
    "MlflowContext",
    "Need",
    "OutboundRecord",
    "Outcome",
    "Performer",
    "Place",
    "Protobuf",
    "Quantiles",
    "QueuePolicy",
    "Record",
    "Resources",
    "RowBatch",
    "RowSink",
    "Run",
    "Scenario",
    "SchemaReference",
    "Scope",
    "Series",
    "Stream",
    "Sum",
    "TopK",
    "Topic",
    "TopicPartition",
    "TrainingLog",
    "UnsupportedByDia",
    "Variance",
    "follow_mlflow",
    "keras_callback",
    "lightgbm_callback",
    "lightning_logger",
    "transformers_callback",
    "xgboost_callback",
]

_MODULES: Final = {
    **dict.fromkeys(("AgentSpec", "Change", "EventBatch", "Scope"), "streams.engine.agents.agent"),
    **dict.fromkeys(
        ("Answer", "Ask", "JobAgent", "Outcome", "Performer", "Place", "Resources"),
        "streams.engine.agents.job_agent",
    ),
    **dict.fromkeys(("ClickHouseTable", "Column"), "streams.core.rows.clickhouse_table"),
    **dict.fromkeys(("Event", "Stream"), "streams.engine.streams.stream"),
    **dict.fromkeys(("Need", "Topic"), "streams.core.topics.topic"),
    **dict.fromkeys(("RowBatch", "RowSink"), "streams.core.rows.row_sink"),
    **dict.fromkeys(("OutboundRecord", "TopicPartition"), "streams.core.types"),
    **dict.fromkeys(
        ("AggregatedWindows", "ClosedWindow"), "streams.engine.streams.window_aggregates"
    ),
    **dict.fromkeys(("Count", "Sum"), "streams.engine.aggregates.sums"),
    **dict.fromkeys(("First", "Last"), "streams.engine.aggregates.ends"),
    **dict.fromkeys(("Max", "Min"), "streams.engine.aggregates.extremes"),
    **dict.fromkeys(("Mean", "Variance"), "streams.engine.aggregates.moments"),
    **dict.fromkeys(("Run", "Scenario"), "streams.engine.scenarios.scenario"),
    **dict.fromkeys(
        ("MlflowContext", "follow_mlflow"), "streams.http.edge.training.trainers.mlflow_runs"
    ),
    "App": "streams.engine.app.app",
    "Codec": "streams.core.formats.codec",
    "MONTE_CARLO": "streams.engine.scenarios.monte_carlo",
    "POLICY_THRESHOLD": "streams.engine.scenarios.policy_threshold",
    "REPLAY_METRICS": "streams.engine.scenarios.replay_metrics",
    "SEEN_EVENTS": "streams.engine.engine_tables",
    "Series": "streams.engine.streams.series_windows",
    "Distinct": "streams.engine.aggregates.distinct",
    "EdgeClient": "streams.http.edge.client",
    "Quantiles": "streams.engine.aggregates.quantiles",
    "QueuePolicy": "streams.engine.agents.queue_policy",
    "Record": "streams.core.records.record",
    "TrainingLog": "streams.http.edge.training.training_log",
    "keras_callback": "streams.http.edge.training.trainers.keras_callback",
    "lightgbm_callback": "streams.http.edge.training.trainers.lightgbm_callback",
    "lightning_logger": "streams.http.edge.training.trainers.lightning_logger",
    "transformers_callback": "streams.http.edge.training.trainers.transformers_callback",
    "xgboost_callback": "streams.http.edge.training.trainers.xgboost_callback",
    "TopK": "streams.engine.aggregates.top_k",
    "SchemaReference": "streams.core.formats.schema_source",
    "UnsupportedByDia": "streams.core.errors",
}
_DECLARATIONS: Final = {"Avro": "avro", "JsonSchema": "json_schema", "Protobuf": "protobuf"}
"""Codecs that need a package of their own; without it, the error says which."""


def __getattr__(name: str) -> Any:
    from importlib import import_module  # noqa: PLC0415 - see the docstring of this module

    if name == "__version__":
        return import_module("streams.core.process.version").app_version()
    if name in _DECLARATIONS:
        named = import_module("streams.core.formats.named")
        return named.declaration(_DECLARATIONS[name])
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__, "__version__"]

"""The built-in app: metrics of models in minute windows, training results, simulations.

Declared with the public API only.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import schemas
from agents import record_training, simulate_decision
from agents.clickhouse_tables import MODELS, SIMULATIONS, TRAINING_RUNS
from agents.simulator import Simulator
from schemas import ModelMetric, SimulationRequest, SimulationResult, TrainingResult
from streams import (
    MONTE_CARLO,
    POLICY_THRESHOLD,
    REPLAY_METRICS,
    SEEN_EVENTS,
    App,
    Need,
    Series,
)
from tables.model_cards import MODEL_CARDS

app = App(
    "dia",
    schemas=Path(schemas.__file__).parent / "generated",
    pages=("decisions", "training"),
)
for table in (TRAINING_RUNS, MODELS, SIMULATIONS):
    app.add_clickhouse_table(table)
for scenario in (MONTE_CARLO, POLICY_THRESHOLD, REPLAY_METRICS):
    app.add_scenario(scenario)

DIA_GROUP: Final = app.group
SIMULATOR_GROUP: Final = "dia-simulator-group"

MODEL_METRICS = app.topic(
    "model.metrics",
    schema="model_metric",
    versions={1: ModelMetric},
    partitions=4,
    key_field="tenant_id",
    time_field="ts",
)
SIMULATION_REQUEST = app.topic(
    "decision.simulation.request",
    schema="simulation_request",
    versions={1: SimulationRequest},
    partitions=3,
    key_field="tenant_id",
    time_field="ts",
)
SIMULATION_RESULT = app.topic(
    "decision.simulation.result",
    schema="simulation_result",
    versions={1: SimulationResult},
    partitions=3,
    key_field="tenant_id",
    time_field="finished_ts",
)
TRAIN_RESULTS = app.topic(
    "train.results",
    schema="training_result",
    versions={1: TrainingResult},
    partitions=3,
    key_field="model_id",
    time_field="ts",
    needs=(
        Need("event", "alias_updated", "alias"),
        Need("event", "stage_transitioned", "stage"),
    ),
    # Its row must fit one entry of the outbox.
    bytes_max=256 << 10,
)

AGGREGATE_METRICS = app.windows(
    "m1",
    of=MODEL_METRICS,
    by=("tenant_id", "model_id", "metric"),
    fold=Series("value"),
    size="60s",
    roll_ups=("1h", "1d"),
    late="reopen",
    ids="event_id",
    agent="aggregate_metrics",
)
RECORD_TRAINING = app.batch_agent(
    TRAIN_RESULTS, tables=(SEEN_EVENTS, MODEL_CARDS), name="record_training", ids="result_id"
)(record_training.record_training)
SIMULATE_DECISION = app.job_agent(
    SIMULATION_REQUEST,
    name="simulate_decision",
    group=SIMULATOR_GROUP,
    results=SIMULATION_RESULT,
    ask=simulate_decision.ask,
    answer=simulate_decision.answer,
    performer=partial(Simulator.of, app.scenarios),
)

"""Metrics of training code: `TrainingLog`, and callbacks that log what a trainer or MLflow logs.

    from streams.training import TrainingLog, keras_callback

    with TrainingLog(url, token, topic="readings", tenant="acme", model="m") as log:
        model.fit(x, y, callbacks=[keras_callback(log)])

A trainer's package is imported when its callback is made, and need not be there before.
"""

from __future__ import annotations

from streams.http.edge.training.trainers.keras_callback import keras_callback
from streams.http.edge.training.trainers.lightgbm_callback import lightgbm_callback
from streams.http.edge.training.trainers.lightning_logger import lightning_logger
from streams.http.edge.training.trainers.mlflow_runs import MlflowContext, follow_mlflow
from streams.http.edge.training.trainers.transformers_callback import transformers_callback
from streams.http.edge.training.trainers.xgboost_callback import xgboost_callback
from streams.http.edge.training.training_log import TrainingLog

__all__ = [
    "MlflowContext",
    "TrainingLog",
    "follow_mlflow",
    "keras_callback",
    "lightgbm_callback",
    "lightning_logger",
    "transformers_callback",
    "xgboost_callback",
]

"""A callback of XGBoost."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from streams.http.edge.training.trainers.numbers import log_all
from streams.http.edge.training.training_log import TrainingLog


def xgboost_callback(log: TrainingLog) -> Any:
    """For ``callbacks=[...]`` of ``xgb.train``, ``xgb.cv`` and the estimators: each metric of each
    round, as ``validation-rmse``; of ``cv`` the mean over its folds.

    Raises `ImportError` without XGBoost."""

    def after_iteration(self: Any, model: Any, epoch: int, evals_log: Any) -> bool:
        for data, metrics in evals_log.items():
            last = {name: values[-1] for name, values in metrics.items()}
            means = {name: one[0] if isinstance(one, tuple) else one for name, one in last.items()}
            log_all(log, means, prefix=f"{data}-")
        return False

    base = import_module("xgboost.callback").TrainingCallback
    return type("DiaCallback", (base,), {"after_iteration": after_iteration})()

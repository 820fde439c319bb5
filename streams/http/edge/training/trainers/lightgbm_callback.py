"""A callback of LightGBM, which is any callable."""

from __future__ import annotations

from typing import Any, Final

from streams.http.edge.training.trainers.numbers import log_all
from streams.http.edge.training.training_log import TrainingLog

_ORDER: Final = 20
"""before early stopping (30), which ends a round by an exception"""


def lightgbm_callback(log: TrainingLog) -> Any:
    """For ``callbacks=[...]`` of ``lgb.train``, ``lgb.cv`` and the estimators: each metric of each
    round, as ``valid_0-l2``; of ``cv`` the mean over its folds."""
    return _Callback(log)


class _Callback:
    order = _ORDER
    before_iteration = False

    def __init__(self, log: TrainingLog) -> None:
        self._log = log

    def __call__(self, env: Any) -> None:
        """``env``: LightGBM's CallbackEnv."""
        for data, metric, value, *_ in env.evaluation_result_list or ():
            log_all(self._log, {metric: value}, prefix=f"{data}-")

"""Metrics of MLflow's runs, logged to dia as well.

All that logs a metric with MLflow (`mlflow.log_metric`, `log_metrics`, autologging) calls
`MlflowClient.log_metric` or `log_batch`. MLflow has no hook there, so both are wrapped."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from streams.core.errors import UsageError
from streams.http.edge.training.training_log import TrainingLog

_URL: Final = "MLFLOW_DIA_URL"
_TENANT: Final = "MLFLOW_DIA_TENANT"
_MODEL: Final = "MLFLOW_DIA_MODEL"
_TOKEN_FILE: Final = "MLFLOW_DIA_TOKEN_FILE"  # noqa: S105 - the name of a variable
_TOPIC: Final = "MLFLOW_DIA_TOPIC"


def follow_mlflow(log: TrainingLog) -> Callable[[], None]:
    """From now on each metric that this process logs with MLflow goes to ``log`` too, once MLflow
    has taken it, under the id of its MLflow run. Returns what ends it.

    Raises `ImportError` without MLflow."""
    client = import_module("mlflow").MlflowClient
    one, batch = client.log_metric, client.log_batch

    @wraps(one)
    def log_metric(
        self: Any,
        run_id: str,
        key: str,
        value: Any,
        timestamp: Any = None,
        *more: Any,
        **named: Any,
    ) -> Any:
        done = one(self, run_id, key, value, timestamp, *more, **named)
        _log(log, run_id, key, value, timestamp)
        return done

    @wraps(batch)
    def log_batch(self: Any, run_id: str, metrics: Any = (), *more: Any, **named: Any) -> Any:
        metrics = tuple(metrics)
        done = batch(self, run_id, metrics, *more, **named)
        for found in metrics:
            _log(log, run_id, found.key, found.value, found.timestamp)
        return done

    client.log_metric, client.log_batch = log_metric, log_batch

    def end() -> None:
        client.log_metric, client.log_batch = one, batch

    return end


class MlflowContext:
    """MLflow's plug-in (entry point ``mlflow.run_context_provider``): the first run that starts where
    MLFLOW_DIA_URL is set begins `follow_mlflow`. Each run gets the tags dia.tenant and dia.model."""

    def in_context(self) -> bool:
        return bool(os.environ.get(_URL))

    def tags(self) -> dict[str, str]:
        """Raises `UsageError`, which MLflow writes to its log as a warning; the run starts."""
        topic, tenant, model, token_file = map(_needed, (_TOPIC, _TENANT, _MODEL, _TOKEN_FILE))
        _FOLLOWING.follow(os.environ[_URL], token_file, tenant, model, topic)
        return {"dia.tenant": tenant, "dia.model": model}


class _Following:
    """The one log of this process that follows MLflow; runs may start in several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settings: tuple[str, ...] = ()
        self._end: Callable[[], None] = lambda: None

    def follow(self, url: str, token_file: str, tenant: str, model: str, topic: str) -> None:
        """Other settings than before replace the log; the one before sends what it has."""
        settings = (url, token_file, tenant, model, topic)
        with self._lock:
            if settings == self._settings:
                return
            log = TrainingLog(url, _token(token_file), tenant=tenant, model=model, topic=topic)
            self._end()
            self._settings, self._end = settings, follow_mlflow(log)


_FOLLOWING: Final = _Following()


def _token(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{_TOKEN_FILE}={file} cannot be read: {error}. Name a file.") from error


def _needed(variable: str) -> str:
    found = os.environ.get(variable)
    if not found:
        raise UsageError(f"{_URL} is set and {variable} is not: nothing is logged to dia. Set it.")
    return found


def _log(log: TrainingLog, run: str, metric: str, value: Any, timestamp: Any) -> None:
    with suppress(Exception):  # MLflow has the metric, so no error may reach the training
        log.log(metric, float(value), run=run, ts_ms=None if timestamp is None else int(timestamp))

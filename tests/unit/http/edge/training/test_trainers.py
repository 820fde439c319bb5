"""Callbacks of trainers: what a trainer logs goes to dia too, by the hooks that its documentation names.

Stand-ins have those hooks and no more; test_real_trainers.py runs the packages where they are installed."""

from __future__ import annotations

import sys
import threading
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import streams
from streams.core.errors import UsageError
from streams.http.edge.training.trainers import mlflow_runs


class Log:
    """In place of a `TrainingLog`."""

    def __init__(self) -> None:
        self.points: list[tuple[Any, ...]] = []

    def log(self, metric: str, value: float, *, run: str = "", ts_ms: int | None = None) -> bool:
        assert type(value) is float
        self.points.append((metric, value, run, ts_ms) if run else (metric, value))
        return True


class _Base:
    """What trainers derive callbacks from."""


class _Client:
    """MLflow's: what its server took."""

    def __init__(self) -> None:
        self.taken: list[Any] = []

    def log_metric(self, run_id: str, key: str, value: Any, timestamp: Any = None) -> str:
        if key == "refused":
            raise RuntimeError(key)
        self.taken.append((run_id, key, value, timestamp))
        return "one"

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> str:
        self.taken += metrics
        return "batch"


@pytest.fixture(autouse=True)
def packages(monkeypatch) -> None:
    """Stand-ins, here of installed packages too."""
    first = SimpleNamespace(rank_zero_only=lambda function: function)
    modules: dict[str, dict[str, Any]] = {
        "keras.callbacks": {"Callback": _Base},
        "transformers": {"TrainerCallback": _Base},
        "pytorch_lightning.loggers": {"Logger": _Base},
        "pytorch_lightning.utilities": vars(first),
        "xgboost.callback": {"TrainingCallback": _Base},
        "mlflow": {"MlflowClient": type("MlflowClient", (_Client,), {})},
    }
    for name, content in modules.items():
        made = ModuleType(name)
        vars(made).update(content)
        monkeypatch.setitem(sys.modules, name, made)
        if "." in name:
            monkeypatch.setitem(sys.modules, name.partition(".")[0], ModuleType(name))


LOGS = {"loss": np.float32(0.5), "note": "warm-up", "nothing": None, "acc": 1, "text": "1.5"}
LOGGED = [("loss", 0.5), ("acc", 1.0)]


def _keras(log: Any) -> None:
    callback = streams.keras_callback(log)
    callback.on_epoch_end(0, LOGS)
    assert not hasattr(callback, "on_train_batch_end")


def _transformers(log: Any) -> None:
    on_log = streams.transformers_callback(log).on_log
    assert (
        on_log(None, SimpleNamespace(is_world_process_zero=True), "c", logs=LOGS, model=1) is None
    )
    on_log(None, SimpleNamespace(is_world_process_zero=False), "c", logs=LOGS)


def _lightning(log: Any) -> None:
    logger = streams.lightning_logger(log)
    logger.log_hyperparams({"lr": 0.1})
    logger.log_metrics(LOGS, step=7)
    assert (logger.name, logger.version) == ("dia", "")


@pytest.mark.parametrize("drive", [_keras, _transformers, _lightning])
def test_numbers_that_a_trainer_logs_are_logged(drive: Callable[[Any], None]):
    """Texts beside them must not end a training."""
    drive(log := Log())
    assert log.points == LOGGED


def test_batches_of_keras_are_logged_where_they_are_asked_for():
    """Their names tell a running mean from the figure of an epoch."""
    streams.keras_callback(log := Log(), batches=True).on_train_batch_end(3, {"loss": 0.25})
    assert log.points == [("batch_loss", 0.25)]


def test_the_last_round_of_boosting_is_logged_for_each_data_set():
    """Cross-validation gives a mean with its deviation, in XGBoost as a pair."""
    log = Log()
    history = {"train": {"rmse": [3.0, 2.0]}, "test": {"rmse": [(5.0, 0.1), (4.0, 0.2)]}}
    assert streams.xgboost_callback(log).after_iteration(None, 1, history) is False
    callback = streams.lightgbm_callback(log)
    callback(SimpleNamespace(evaluation_result_list=None))
    callback(
        SimpleNamespace(evaluation_result_list=[("a", "l2", 1.0, False), ("b", "l2", 2, 0, 1)])
    )
    assert log.points == [("train-rmse", 2.0), ("test-rmse", 4.0), ("a-l2", 1.0), ("b-l2", 2.0)]
    assert (callback.order, callback.before_iteration) == (20, False)


def test_what_mlflow_takes_is_logged_under_its_run():
    """MLflow's own answer and its refusal stay what they are."""
    client = import_module("mlflow").MlflowClient()
    end = streams.follow_mlflow(log := Log())
    assert client.log_metric("r1", "loss", 0.5, 7) == "one"
    assert client.log_metric("r2", "loss", "no number") == "one"
    with pytest.raises(RuntimeError):
        client.log_metric("r1", "refused", 1.0)
    held = (SimpleNamespace(key=key, value=1.5, timestamp=9) for key in "ab")
    assert client.log_batch("r3", held, params=["p"]) == "batch"
    assert client.log_batch("r3", params=["p"]) == "batch"
    end()
    client.log_metric("r1", "loss", 0.75)
    assert log.points == [("loss", 0.5, "r1", 7), ("a", 1.5, "r3", 9), ("b", 1.5, "r3", 9)]
    assert len(client.taken) == 5


def test_the_plugin_follows_mlflow_where_its_environment_says_so(monkeypatch, tmp_path):
    """A training's code stays as it is; a variable that is missing is a warning of MLflow's."""
    written = tomllib.loads((Path(__file__).parents[5] / "pyproject.toml").read_text())["project"]
    module, _, name = written["entry-points"]["mlflow.run_context_provider"]["dia"].partition(":")
    context = getattr(import_module(module), name)()
    monkeypatch.delenv("MLFLOW_DIA_URL", raising=False)
    assert not context.in_context()
    (tmp_path / "token").write_text("dia_secret\n")
    made = []
    monkeypatch.setattr(
        mlflow_runs, "TrainingLog", lambda *args, **named: made.append((args, named)) or Log()
    )
    monkeypatch.setattr(mlflow_runs, "_FOLLOWING", mlflow_runs._Following())
    monkeypatch.setenv("MLFLOW_DIA_URL", "http://edge")
    assert context.in_context()
    with pytest.raises(UsageError, match="MLFLOW_DIA_TOPIC"):
        context.tags()
    monkeypatch.setenv("MLFLOW_DIA_TOPIC", "model.metrics")
    monkeypatch.setenv("MLFLOW_DIA_TENANT", "acme")
    monkeypatch.setenv("MLFLOW_DIA_MODEL", "resnet")
    monkeypatch.setenv("MLFLOW_DIA_TOKEN_FILE", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="MLFLOW_DIA_TOKEN_FILE"):
        context.tags()
    monkeypatch.setenv("MLFLOW_DIA_TOKEN_FILE", str(tmp_path / "token"))
    for _ in range(2):
        assert context.tags() == {"dia.tenant": "acme", "dia.model": "resnet"}
    mlflow_runs._FOLLOWING._end()
    named = {"tenant": "acme", "model": "resnet", "topic": "model.metrics"}
    assert made == [(("http://edge", "dia_secret"), named)]


def test_one_log_follows_mlflow_whatever_threads_and_settings_begin_it(monkeypatch, tmp_path):
    """With two of them each metric would count twice, under ids that no deduplication knows as one."""
    (tmp_path / "token").write_text("dia_secret")
    logs: list[Log] = []
    monkeypatch.setattr(
        mlflow_runs, "TrainingLog", lambda *_, **named: logs.append(Log()) or logs[-1]
    )
    following = mlflow_runs._Following()
    settings = ("http://edge", str(tmp_path / "token"), "acme")
    together = threading.Barrier(4)

    def begin() -> None:
        together.wait(100)
        following.follow(*settings, "resnet", "t")

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    client = import_module("mlflow").MlflowClient()
    client.log_metric("r1", "loss", 0.5, 7)
    following.follow(*settings, "bert", "t")
    client.log_metric("r2", "loss", 0.25, 8)
    following._end()
    assert [log.points for log in logs] == [[("loss", 0.5, "r1", 7)], [("loss", 0.25, "r2", 8)]]

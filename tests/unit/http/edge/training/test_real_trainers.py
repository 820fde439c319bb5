"""Trainers themselves log to dia. Their packages are in no lock, as they are large or pin what dia needs:
each test is skipped without its own. The hooks are tested without them in test_trainers.py."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import streams
from streams.http.edge.training.trainers import mlflow_runs

pytestmark = pytest.mark.filterwarnings("default")

FEATURES = np.arange(80.0).reshape(40, 2)
TARGET = FEATURES.sum(axis=1)


class Log:
    def __init__(self) -> None:
        self.points: list[tuple[str, float]] = []

    def log(self, metric: str, value: float, *, run: str = "", ts_ms: int | None = None) -> bool:
        self.points.append((metric, value))
        return True

    def of(self, metric: str) -> list[float]:
        return [value for name, value in self.points if name == metric]


def test_lightgbm():
    lightgbm = pytest.importorskip("lightgbm")
    data, history, log = lightgbm.Dataset(FEATURES, TARGET), {}, Log()
    callbacks = [streams.lightgbm_callback(log), lightgbm.record_evaluation(history)]
    options = {"objective": "regression", "metric": ["l2", "l1"], "verbose": -1, "num_threads": 1}
    lightgbm.train(options, data, 3, valid_sets=[data], valid_names=["data"], callbacks=callbacks)
    assert len(log.points) == 6
    assert log.of("data-l2") == history["data"]["l2"]
    folds = lightgbm.cv(options, data, 3, nfold=2, callbacks=callbacks[:1], stratified=False)
    assert log.of("valid-l1") == folds["valid l1-mean"]


def test_xgboost():
    xgboost = pytest.importorskip("xgboost")
    data, history, log = xgboost.DMatrix(FEATURES, TARGET), {}, Log()
    named = {"callbacks": [streams.xgboost_callback(log)], "verbose_eval": False}
    options = {"eval_metric": ["rmse", "mae"], "nthread": 1}
    xgboost.train(options, data, 3, evals=[(data, "data")], evals_result=history, **named)
    assert log.of("data-mae") == history["data"]["mae"]
    folds = xgboost.cv(options, data, 3, nfold=2, as_pandas=False, **named)
    assert log.of("test-rmse") == folds["test-rmse-mean"]


def test_keras():
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    log = Log()
    named = {"callbacks": [streams.keras_callback(log, batches=True)], "verbose": 0}
    fitted = model.fit(FEATURES / 80, TARGET, epochs=2, validation_split=0.25, **named)
    assert log.of("loss") == fitted.history["loss"]
    assert log.of("val_loss") == fitted.history["val_loss"]
    assert len(log.of("batch_loss")) == 2


def test_transformers():
    """Through the handler that a Trainer has; a Trainer needs PyTorch and a model."""
    trainer = pytest.importorskip("transformers.trainer_callback")
    log = Log()
    callbacks = [streams.transformers_callback(log)]
    handler = trainer.CallbackHandler(callbacks, *[None] * 4)
    state = trainer.TrainerState(is_world_process_zero=True)
    control = trainer.TrainerControl()
    handler.on_train_begin(None, state, control)
    handler.on_log(None, state, control, {"loss": 0.5, "learning_rate": 1e-3})
    handler.on_train_end(None, state, control)
    assert log.points == [("loss", 0.5), ("learning_rate", 1e-3)]


def test_lightning():
    lightning = pytest.importorskip("lightning.pytorch")
    torch = pytest.importorskip("torch")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch: Any, at: int) -> Any:
            loss = self.layer(batch[0]).square().mean()
            self.log("loss", loss, on_step=True)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 1e-6)

    rows = torch.utils.data.TensorDataset(torch.tensor(FEATURES, dtype=torch.float32))
    log = Log()
    silent = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    logger = streams.lightning_logger(log)
    lightning.Trainer(
        logger=logger, max_epochs=1, log_every_n_steps=1, enable_checkpointing=False, **silent
    ).fit(Module(), torch.utils.data.DataLoader(rows, batch_size=20))
    assert len(log.of("loss")) == 2


def test_mlflow(served, tokens, log, tmp_path, monkeypatch):
    """From `mlflow.log_metric` of unchanged code to the edge's log, and in MLflow as ever."""
    mlflow = pytest.importorskip("mlflow")
    (tmp_path / "token").write_text(tokens["operate"])
    for name, value in (("TOPIC", "model.metrics"), ("TENANT", "acme"), ("MODEL", "resnet")):
        monkeypatch.setenv(f"MLFLOW_DIA_{name}", value)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DIA_URL", served)
    monkeypatch.setenv("MLFLOW_DIA_TOKEN_FILE", str(tmp_path / "token"))
    made, follow = [], mlflow_runs.follow_mlflow
    monkeypatch.setattr(mlflow_runs, "_FOLLOWING", mlflow_runs._Following())
    monkeypatch.setattr(mlflow_runs, "follow_mlflow", lambda log: made.append((log, follow(log))))
    context = streams.MlflowContext()
    monkeypatch.setattr(
        mlflow.tracking.context.registry._run_context_provider_registry, "_registry", [context]
    )
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 0.5, step=1)
        mlflow.log_metrics({"loss": 0.25, "acc": 0.75}, step=2)
        mlflow.log_metric("late", 0.125, synchronous=False)
    ((sent, end),) = made
    end()
    assert sent.close()
    assert sent.status.accepted == 4, sent.status
    events = [json.loads(value) for _, value in log()]
    assert {event["run_id"] for event in events} == {run.info.run_id}
    assert sorted((event["metric"], event["value"]) for event in events) == [
        ("acc", 0.75), ("late", 0.125), ("loss", 0.25), ("loss", 0.5),
    ]  # fmt: skip
    kept = mlflow.get_run(run.info.run_id)
    assert kept.data.metrics == {"loss": 0.25, "acc": 0.75, "late": 0.125}
    assert kept.data.tags["dia.model"] == "resnet"

"""A logger of PyTorch Lightning."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from streams.http.edge.training.trainers.numbers import log_all
from streams.http.edge.training.training_log import TrainingLog


def lightning_logger(log: TrainingLog) -> Any:
    """For ``Trainer(logger=...)``, alone or in a list: all that a module logs by ``self.log``. Of
    several processes only the first logs.

    Raises `ImportError` without lightning or pytorch_lightning."""
    package = "lightning.pytorch" if find_spec("lightning") else "pytorch_lightning"
    only_first = import_module(f"{package}.utilities").rank_zero_only

    def log_metrics(self: Any, metrics: Any, step: int | None = None) -> None:
        log_all(log, metrics)

    def log_hyperparams(self: Any, params: Any, *more: Any, **named: Any) -> None:
        """These are no metrics."""

    methods = {
        "name": property(lambda _: "dia"),
        "version": property(lambda _: ""),
        "log_metrics": only_first(log_metrics),
        "log_hyperparams": log_hyperparams,
    }
    base = import_module(f"{package}.loggers").Logger
    return type("DiaLogger", (base,), methods)()

"""A callback of Keras 2 and 3."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from streams.http.edge.training.trainers.numbers import log_all
from streams.http.edge.training.training_log import TrainingLog


def keras_callback(log: TrainingLog, *, batches: bool = False) -> Any:
    """For ``model.fit(..., callbacks=[...])``: metrics of each epoch under the names of its history,
    as ``loss`` and ``val_loss``. ``batches``: those of each batch too, as ``batch_loss``.

    Raises `ImportError` without Keras."""

    def on_epoch_end(self: Any, epoch: int, logs: Any = None) -> None:
        log_all(log, logs)

    def on_train_batch_end(self: Any, batch: int, logs: Any = None) -> None:
        log_all(log, logs, prefix="batch_")

    methods: dict[str, Any] = {"on_epoch_end": on_epoch_end}
    if batches:
        methods["on_train_batch_end"] = on_train_batch_end
    base = import_module("keras.callbacks").Callback
    return type("DiaCallback", (base,), methods)()

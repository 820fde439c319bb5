"""A callback of the Trainer of Hugging Face's transformers."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from streams.http.edge.training.trainers.numbers import log_all
from streams.http.edge.training.training_log import TrainingLog


def transformers_callback(log: TrainingLog) -> Any:
    """For ``Trainer(..., callbacks=[...])``: all that the trainer logs, as ``loss``,
    ``learning_rate``, ``eval_loss``. Of several processes only the first logs.

    Raises `ImportError` without transformers."""

    def on_log(
        self: Any, args: Any, state: Any, control: Any, logs: Any = None, **named: Any
    ) -> None:
        if state.is_world_process_zero:
            log_all(log, logs)

    base = import_module("transformers").TrainerCallback
    return type("DiaCallback", (base,), {"on_log": on_log})()

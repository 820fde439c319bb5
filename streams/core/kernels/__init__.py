"""Loops over plain arrays that numba compiles to machine code: the data plane of a worker.

A kernel reads and writes numpy arrays; it allocates nothing and raises nothing. It judges the plain
case, and flags each record that it cannot judge: that one goes, alone, through the code that makes
Python objects, so that what is refused, and how, has one definition. Nothing depends on kernels but
speed: where numba is not installed, or ``DIA_KERNELS=off``, the same tests hold for numpy alone.

Kernels are compiled by `load` and never later (streams/core/kernels/compiled.py). Until a process has
called it, `active` is None and the numpy path serves: commands that are no worker import no numba.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

active: ModuleType | None = None
"""`streams.core.kernels.loops` once it is loaded, else None."""


def load(mode: str = "on") -> str:
    """Use the kernels from here on, or, with ``mode`` "off", none.

    ``mode`` is the setting ``DIA_KERNELS``. Returns why the numpy path serves; "" where kernels do.
    Whatever numba cannot do on this machine, the worker does without.
    """
    global active  # noqa: PLW0603 - one state of the process: machine code is loaded once
    active = None
    if mode == "off":
        return "DIA_KERNELS=off"
    if why := prepare():
        return why
    active = import_module("streams.core.kernels.loops")
    return ""


def prepare() -> str:
    """Compile the kernels, or read them from the cache, for a later `load`. Returns why that cannot be;
    "" where it is done."""
    try:
        compiled = import_module("streams.core.kernels.compiled")
        if not compiled.AVAILABLE:
            return str(compiled.WHY_NOT)
        import_module("streams.core.kernels.loops")
        compiled.loaded()
    except Exception as error:  # noqa: BLE001 - numba has no exception of its own for all
        return f"numba cannot compile here: {type(error).__name__} {error}"[:500]
    return ""

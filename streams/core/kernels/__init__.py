"""Loops over numpy arrays, compiled by numba (docs/protocols/kernels.md).

A kernel allocates nothing and raises nothing. It handles the plain case and flags other records for
the Python path, which alone refuses. Without numba, or with ``DIA_KERNELS=off``, numpy gives the
same results.

Until `load` has compiled them (streams/core/kernels/compiled.py), `active` is None; commands import
no numba.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

active: ModuleType | None = None
"""`streams.core.kernels.loops` after `load`, else None."""


def load(mode: str = "on") -> str:
    """Use the kernels, or none with ``mode`` "off" (``DIA_KERNELS``).

    Returns the reason for the numpy path, "" with kernels. A failure of numba is never fatal.
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
    """Compile the kernels into the cache for a later `load`. Returns the reason of a failure, or
    ""."""
    try:
        compiled = import_module("streams.core.kernels.compiled")
        if not compiled.AVAILABLE:
            return str(compiled.WHY_NOT)
        import_module("streams.core.kernels.loops")
        compiled.loaded()
    except Exception as error:  # noqa: BLE001 - numba has no exception of its own for all
        return f"numba cannot compile here: {type(error).__name__} {error}"[:500]
    return ""

"""Compiles kernels and caches their machine code.

`kernel` compiles for one signature at import, which takes seconds of CPU per machine type and
release; arrays of another type raise TypeError. The cache folder is named by the text of all
kernels and numba's version, because numba checks only a kernel's own file.

The folder is beside this module if writable. In a read-only image, the code compiled at build time
is copied to a temporary folder, since numba reads only where it can write; `loaded` removes it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any, Final, TypeVar, cast

import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

numba: Any = None
ir: Any = None
try:
    numba, ir = import_module("numba"), import_module("llvmlite.ir")
except ImportError as error:
    WHY_NOT = f"numba cannot be imported ({error}): pip install 'dia-streams[compiled]'"
else:
    WHY_NOT = ""

AVAILABLE: Final = not WHY_NOT

BYTES: Final = "Array(uint8, 1, 'C', readonly=True)"
"""Read-only bytes."""
_OPTIONS: Final = {"boundscheck": False, "error_model": "numpy", "_nrt": False}
"""No reference counts: a kernel allocates nothing, and counting took two thirds of the scanner's
time."""
_PRIVATE: Final = "dia-kernels-"
_HERE: Final = Path(__file__).parent


def kernel(signature: str) -> Callable[[Function], Function]:
    """Compile a function for ``signature`` in numba's notation, where BYTES stands for `BYTES`.
    Without numba the function stays Python."""

    def compiled(function: Function) -> Function:
        if numba is None:
            return function
        typed = eval(signature.replace("BYTES", BYTES), dict(vars(numba.types)))  # noqa: S307 - written here
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(_CACHE)
        machine_code = numba.njit(typed, cache=True, nogil=True, **_OPTIONS)
        try:
            try:
                return cast(Function, machine_code(function))
            except Exception:
                if not _forget(function):
                    raise
                return cast(Function, machine_code(function))
        finally:
            numba.config.CACHE_DIR = before

    return compiled


def _forget(function: Callable[..., Any]) -> bool:
    """Remove a kernel's cached machine code, which a crash may have truncated; False: there was
    none."""
    kept = [*cast(Path, _CACHE).rglob(f"*.{function.__qualname__}-*.nb?")]
    for file in kept:
        file.unlink(missing_ok=True)
    return bool(kept)


def inlined(function: Function) -> Function:
    if numba is None:
        return function
    return cast(Function, numba.njit(forceinline=True, **_OPTIONS)(function))


def called(function: Function) -> Function:
    """For what is rare: not inlined by force, so that it takes no registers of the usual case."""
    if numba is None:
        return function
    return cast(Function, numba.njit(**_OPTIONS)(function))


def twin(function: Function) -> Function:
    """The same loop and its callees in Python, for tests."""
    plain = getattr(function, "py_func", function)
    names = {
        name: twin(value) if hasattr(value, "py_func") else value
        for name, value in plain.__globals__.items()
        if name in plain.__code__.co_names or name == "__builtins__"
    }
    interpreted = FunctionType(plain.__code__, names, plain.__name__, plain.__defaults__)

    def ignoring_overflow(*arguments: Any) -> Any:
        with np.errstate(over="ignore"):
            return interpreted(*arguments)

    return cast(Function, ignoring_overflow)


def _cache() -> Path:
    text = sha256(numba.__version__.encode())
    for file in sorted(_HERE.glob("*.py")):
        text.update(file.read_bytes())
    beside = _HERE / "__pycache__" / text.hexdigest()[:16]
    with suppress(OSError):
        beside.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=beside):
            return beside
    private = Path(tempfile.mkdtemp(prefix=_PRIVATE))
    if beside.is_dir():
        shutil.copytree(beside, private, dirs_exist_ok=True)
    return private


_CACHE = _cache() if AVAILABLE else None


def loaded() -> None:
    """Remove the temporary folder once all kernels are in memory."""
    if _CACHE is not None and _CACHE.name.startswith(_PRIVATE):
        shutil.rmtree(_CACHE, ignore_errors=True)

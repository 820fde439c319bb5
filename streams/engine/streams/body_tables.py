"""Finds the declared tables that an agent's code names: in its globals and closures, in those of
functions of its package that it calls, and in those of the callbacks of its windows."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

from streams.engine.streams.declared_table import DeclaredTable
from streams.engine.streams.windowed_table import WindowedDeclaration

_DEPTH_MAX: Final = 6
"""nesting of calls"""


def tables_named_in(body: Any) -> tuple[DeclaredTable, ...]:
    """Each table once, in the order of first use. A table reached in another way, such as an
    attribute of an object, is not found."""
    function = body if isinstance(body, FunctionType) else getattr(body, "__func__", None)
    if not isinstance(function, FunctionType):
        call = getattr(type(body), "__call__", None)  # noqa: B004 - its code is needed
        if not isinstance(call, FunctionType):
            return ()
        function = call
    found: dict[object, DeclaredTable] = {}
    package = function.__module__.partition(".")[0]
    _walk(function, package, found, set(), _DEPTH_MAX)
    return tuple(found.values())


def _walk(
    function: FunctionType,
    package: str,
    found: dict[object, DeclaredTable],
    seen: set[CodeType],
    depth: int,
) -> None:
    if function.__code__ in seen or not depth:
        return
    seen.add(function.__code__)
    for value in _named(function):
        if isinstance(value, DeclaredTable):
            found.setdefault(value.identity, value)
            if isinstance(value, WindowedDeclaration) and isinstance(value.on_close, FunctionType):
                _walk(value.on_close, package, found, seen, depth - 1)
        elif isinstance(value, FunctionType) and value.__module__.partition(".")[0] == package:
            _walk(value, package, found, seen, depth - 1)


def _named(function: FunctionType) -> Iterator[Any]:
    """Globals, enclosed variables, and attributes of modules, by the names that the code uses."""
    names = list(_names(function.__code__))
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            continue  # not assigned yet
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, ModuleType):
            yield from (vars(value)[other] for other in names if other in vars(value))
        elif value is not None:
            yield value


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)

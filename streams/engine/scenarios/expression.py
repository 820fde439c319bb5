"""An arithmetic expression over named variables, evaluated on whole columns.

    price * units - max(0, units - stock) * 3.5

`ast` parses the text; nothing of it is executed, and syntax not listed below is refused. Constants
become doubles, so no integer power grows without bound; text, nodes and depth are limited.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streams.core.job_refusals import InvalidParameters

TEXT_MAX = 1000
NODES_MAX = 200
DEPTH_MAX = 25

Columns: TypeAlias = Mapping[str, NDArray[np.float64]]
Value: TypeAlias = Any
"""A column of doubles, or one double."""
Evaluate: TypeAlias = Callable[[Columns], Value]

_BINARY: Mapping[type[ast.operator], Callable[..., Value]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.divide,
    ast.Mod: np.mod,
    ast.Pow: np.power,
}
_UNARY: Mapping[type[ast.unaryop], Callable[..., Value]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[..., Value]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
}
_FUNCTIONS: Mapping[str, tuple[int, Callable[..., Value]]] = {
    "abs": (1, np.abs),
    "exp": (1, np.exp),
    "log": (1, np.log),
    "sqrt": (1, np.sqrt),
    "floor": (1, np.floor),
    "ceil": (1, np.ceil),
    "min": (2, np.minimum),
    "max": (2, np.maximum),
    "where": (3, lambda condition, yes, no: np.where(condition != 0, yes, no)),
}
"""number of arguments, and the function; a comparison is 1.0 if true, else 0.0"""


class Expression:
    """A checked expression; ``names`` are the variables it may use."""

    def __init__(self, text: str, names: Sequence[str]) -> None:
        """Raises `InvalidParameters` with the reason and the position."""
        self._compiler = _Compiler(frozenset(names))
        self._evaluate = self._compiler.compile(_parsed(text), DEPTH_MAX)

    @property
    def used(self) -> frozenset[str]:
        return frozenset(self._compiler.used)

    def __call__(self, columns: Columns, rows: int) -> NDArray[np.float64]:
        """The outcome of each of ``rows`` rows; may be infinite or NaN."""
        with np.errstate(all="ignore"):
            value = self._evaluate(columns)
        return np.broadcast_to(np.asarray(value, np.float64), (rows,))


def _parsed(text: str) -> ast.expr:
    if len(text) > TEXT_MAX:
        raise InvalidParameters(f"the expression has {len(text)} characters, at most {TEXT_MAX}.")
    try:
        with warnings.catch_warnings():
            # Syntax warnings ("1 is 1") concern expressions that are refused anyway.
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidParameters(f"the expression cannot be read: {error}") from error
    nodes = sum(1 for _ in ast.walk(tree))
    if nodes > NODES_MAX:
        raise InvalidParameters(f"the expression has {nodes} parts, at most {NODES_MAX}.")
    return tree.body


class _Compiler:
    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self.used: set[str] = set()

    def compile(self, node: ast.expr, depth: int) -> Evaluate:
        if depth == 0:
            raise InvalidParameters(f"the expression nests deeper than {DEPTH_MAX}.")
        match node:
            case ast.Constant(value=value):
                return self._constant(node, value)
            case ast.Name(id=name):
                return self._variable(node, name)
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
                return self._apply(_UNARY[type(op)], [operand], depth)
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _BINARY:
                return self._apply(_BINARY[type(op)], [left, right], depth)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
                return self._apply(_as_double(_COMPARE[type(op)]), [left, right], depth)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
                return self._call(node, name, args, depth)
        raise self._refused(node, f"{type(node).__name__} is not arithmetic")

    def _constant(self, node: ast.expr, value: object) -> Evaluate:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._refused(node, "only numbers are constants")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._refused(node, "a constant is beyond a double")
        double = np.float64(number)
        return lambda columns: double

    def _variable(self, node: ast.expr, name: str) -> Evaluate:
        if name not in self._names:
            known = ", ".join(sorted(self._names))
            raise self._refused(node, f"{name!r} is not a variable; declared are: {known}")
        self.used.add(name)
        return lambda columns: columns[name]

    def _call(self, node: ast.expr, name: str, args: list[ast.expr], depth: int) -> Evaluate:
        count, function = _FUNCTIONS[name]
        if len(args) != count:
            raise self._refused(node, f"{name} takes {count} arguments, not {len(args)}")
        return self._apply(function, args, depth)

    def _apply(self, function: Callable[..., Value], args: list[ast.expr], depth: int) -> Evaluate:
        parts = [self.compile(arg, depth - 1) for arg in args]
        return lambda columns: function(*[part(columns) for part in parts])

    def _refused(self, node: ast.expr, why: str) -> InvalidParameters:
        return InvalidParameters(f"the expression, character {node.col_offset + 1}: {why}.")


def _as_double(compare: Callable[..., Value]) -> Callable[..., Value]:
    return lambda left, right: np.asarray(compare(left, right), np.float64)

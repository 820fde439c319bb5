"""Small changes of a module's source, one at a time: numbers, comparisons, conditions, statements.

A mutant is the parsed module with one node replaced. Texts, annotations, imports and log events are
not changed: they decide nothing. A number in a declaration (a constant, a field's default, an
argument's default) is changed like any other.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_CHOICES = {"min": "max", "max": "min", "any": "all", "all": "any"}
_SILENT = {"log", "logger", "warnings"}
# Class construction: no number and no decision.
_FORMS = {"slots", "kw_only", "frozen", "init", "repr", "eq", "order"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Mutant:
    """``change`` reads ``old -> new``; ``within`` is the qualified name of the function or class
    around it, ``statement`` the first line of the statement. ``in_body``: inside a function's body,
    so it can be put into a loaded module."""

    path: str
    number: int
    line: int
    statement: int
    within: str
    change: str
    in_body: bool

    @property
    def name(self) -> str:
        """Does not change when the code around it moves."""
        return f"{self.path} {self.within or 'module'}: {self.change}"


@dataclass
class _Site:
    parent: ast.AST
    field: str
    index: int | None
    new: ast.AST
    change: str
    within: str
    in_body: bool
    line: int
    statement: int

    def put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


class _Walk:
    def __init__(self) -> None:
        self.sites: list[_Site] = []
        self._statement = 1

    def visit(self, node: ast.AST, within: tuple[str, ...], in_body: bool) -> None:
        for name, value in ast.iter_fields(node):
            if name in {"annotation", "returns", "type_comment", "type_params"}:
                continue
            body = in_body or (isinstance(node, _FUNCTIONS) and name == "body")
            children = value if isinstance(value, list) else [value]
            for index, child in enumerate(children):
                if isinstance(child, ast.AST):
                    at = index if isinstance(value, list) else None
                    self._child(node, name, at, child, within, body)

    def _child(
        self,
        parent: ast.AST,
        field: str,
        index: int | None,
        node: ast.AST,
        within: tuple[str, ...],
        in_body: bool,
    ) -> None:
        if _left_alone(node, parent):
            return
        if isinstance(node, ast.stmt):
            self._statement = node.lineno
        for new, change in _changes(node, parent, field):
            ast.copy_location(new, node)
            ast.fix_missing_locations(new)
            where = ".".join(within)
            self.sites.append(
                _Site(
                    parent, field, index, new, change, where, in_body, _line(node), self._statement
                )
            )
        inner = within
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            inner = (*within, node.name)
        self.visit(node, inner, in_body)


def _line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 1))


def _left_alone(node: ast.AST, parent: ast.AST) -> bool:
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.JoinedStr, ast.Global, ast.Nonlocal)):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # a docstring
    if isinstance(node, ast.Subscript) and isinstance(parent, (ast.Assign, ast.ClassDef)):
        return _root(node) in {"Literal", "Annotated", "Generic", "Protocol"}
    return isinstance(node, ast.Expr) and _root(node.value) in _SILENT


def _root(node: ast.AST) -> str:
    while isinstance(node, (ast.Attribute, ast.Call, ast.Await, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _changes(node: ast.AST, parent: ast.AST, field: str) -> Iterator[tuple[ast.AST, str]]:
    if isinstance(node, ast.expr):
        around = f" in {_text(parent)}" if isinstance(node, ast.Constant) else ""
        for new in _expressions(node, parent, field):
            yield new, f"{_text(node)} -> {_text(new)}{around}"
    elif isinstance(node, ast.stmt):
        yield from ((new, f"{_text(node)} -> removed") for new in _statements(node))


def _expressions(node: ast.expr, parent: ast.AST, field: str) -> Iterator[ast.expr]:
    match node:
        case ast.Constant():
            yield from _figures(node.value, parent)
        case ast.Compare(ops=[first, *rest]) if type(first) in _COMPARISONS:
            yield ast.Compare(node.left, [_COMPARISONS[type(first)](), *rest], node.comparators)
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.BinOp() if type(node.op) in _ARITHMETIC:
            yield ast.BinOp(node.left, _ARITHMETIC[type(node.op)](), node.right)
        case ast.Call(func=ast.Name(id=name)) if name in _CHOICES:
            yield ast.Call(ast.Name(_CHOICES[name], ast.Load()), node.args, node.keywords)
        case ast.Name() | ast.Attribute() | ast.Call() if field == "test":
            yield ast.UnaryOp(ast.Not(), node)


def _figures(value: object, parent: ast.AST) -> Iterator[ast.expr]:
    match value:
        case bool():
            if not isinstance(parent, ast.keyword) or parent.arg not in _FORMS:
                yield ast.Constant(not value)
        case int():
            yield ast.Constant(value + 1)
        case float():
            yield ast.Constant(value * 2 if value else 1.0)


def _statements(node: ast.stmt) -> Iterator[ast.stmt]:
    match node:
        case ast.Expr(value=ast.Call() | ast.Await()):
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.AugAssign() | ast.Delete() | ast.Raise() | ast.Continue() | ast.Break():
            yield ast.Pass()
        case ast.Return(value=None):
            yield ast.Pass()


def _text(node: ast.AST) -> str:
    if isinstance(node, (*_FUNCTIONS, ast.ClassDef, ast.arguments)):
        return getattr(node, "name", "arguments")
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 90 else text[:87] + "..."


def _sites(tree: ast.Module) -> list[_Site]:
    walk = _Walk()
    walk.visit(tree, (), in_body=False)
    return walk.sites


def mutants(path: str, source: str, at_most: int) -> tuple[int, list[Mutant]]:
    """The number of mutants, and a sample of ``at_most``, which depends on path and source only.
    Numbers of declarations are always in the sample."""
    sites = _sites(ast.parse(source))
    found = [
        Mutant(path, number, site.line, site.statement, site.within, site.change, site.in_body)
        for number, site in enumerate(sites)
    ]
    if len(found) <= at_most:
        return len(found), found
    declared = [mutant for mutant in found if not mutant.in_body]
    others = [mutant for mutant in found if mutant.in_body]
    room = max(0, at_most - len(declared))
    drawn = random.Random(path).sample(others, min(room, len(others)))
    return len(found), sorted(declared + drawn, key=lambda mutant: mutant.number)


def mutated(source: str, mutant: Mutant | None) -> ast.Module:
    """The module with this one change; None: unchanged."""
    tree = ast.parse(source)
    if mutant is None:
        return tree
    site = _sites(tree)[mutant.number]
    site.put(site.new)
    return ast.fix_missing_locations(tree)

"""Expressions compute what Python computes, and only arithmetic is accepted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.core.job_refusals import InvalidParameters
from streams.engine.scenarios.expression import Expression

ROWS = {"x": np.array([0.5, -2.0, 3.0]), "y": np.array([4.0, 0.25, -1.0])}
NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)

LEAVES = st.one_of(NUMBERS.map(lambda n: f"({n!r})"), st.sampled_from(["x", "y"]))


def _grown(part):
    two = st.tuples(part, part)
    return st.one_of(
        st.tuples(part, st.sampled_from("+-*"), part).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(part, st.sampled_from(["<", "<=", ">", ">="]), part).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        two.map(lambda t: f"max({t[0]}, {t[1]})"),
        two.map(lambda t: f"min({t[0]}, {t[1]})"),
        part.map(lambda t: f"-{t}"),
        part.map(lambda t: f"abs({t})"),
    )


@given(st.recursive(LEAVES, _grown, max_leaves=12))
def test_an_expression_has_pythons_value(text):
    """Users expect Python's precedence and rounding."""
    found = Expression(text, ["x", "y"])(ROWS, 3)
    for row in range(3):
        names = {name: float(column[row]) for name, column in ROWS.items()}
        with np.errstate(all="ignore"):
            wanted = eval(text, {"max": max, "min": min, "abs": abs}, names)
        assert float(found[row]) == float(wanted)


@given(st.text(max_size=1200))
@example("__import__('os').system('true')")
@example("().__class__.__bases__")
@example("(" * 400 + ")" * 400)
@example("-" * 999 + "1")
@example("9**9**9**9")
@example("x" + "**9" * 60)
@example("1e999")
@example("lambda: x")
@example("[x for x in (1,)]")
@example("'a' * 10")
@example("x if x else y")
@example("f'{x}'")
@example("x\0")
@example("1 is 1")
@example("x.real")
@example("max(x, y, key=abs)")
@example("max(*x)")
@example("(x := 1)")
def test_any_text_is_computed_or_refused(text):
    """The text comes from outside: the result is a refusal or three doubles."""
    try:
        found = Expression(text, ["x", "y"])(ROWS, 3)
    except InvalidParameters:
        return
    assert found.shape == (3,)
    assert found.dtype == np.float64


@given(st.text(alphabet="xy01.+-*/%()<>=, maxbs", max_size=60))
def test_text_of_arithmetic_symbols_is_computed_or_refused(text):
    """Closer to the grammar than random text, so more of it passes the parser."""
    test_any_text_is_computed_or_refused.hypothesis.inner_test(text)


@pytest.mark.parametrize(
    "text",
    ["x.real", "x[0]", "abs", "__import__('os')", "x and y", "'x'", "True", "1j", "x < y < 1",
     "max(x)", "max(x, y, 1)", "max(x, key=y)", "{1}", "not x", "~x", "x // y", "x @ y"],
)  # fmt: skip
def test_other_python_expressions_are_refused(text):
    """Each of these is valid Python and no arithmetic."""
    with pytest.raises(InvalidParameters):
        Expression(text, ["x", "y"])


def test_a_power_of_integers_does_not_grow_without_bound():
    """9**9**9 as an integer would exhaust memory; as doubles it is infinity."""
    assert math.isinf(Expression("9**9**9", [])({}, 1)[0])


def test_long_wide_and_deep_expressions_are_refused():
    """Each bound alone: characters, nodes, nesting."""
    for text, what in (
        ("x" + " " * 1000, "characters"),
        ("+".join(["x"] * 150), "parts"),
        ("abs(" * 30 + "x" + ")" * 30, "nests"),
    ):
        with pytest.raises(InvalidParameters, match=what):
            Expression(text, ["x"])

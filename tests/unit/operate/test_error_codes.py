"""The catalogue of error codes contains exactly the codes of the code."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import streams
from streams.core.errors import DiaError, Disposition
from streams.operate.error_codes import ACTIONS, DECLARED_IN, error_codes


def _below(error):
    for child in error.__subclasses__():
        yield child
        yield from _below(child)


def test_each_code_of_the_tree_is_in_the_catalogue():
    """Users look up the codes that they meet."""
    for module in pkgutil.walk_packages(streams.__path__, "streams."):
        if not module.name.startswith(("streams.__main__", "streams.testing.pytest_plugin")):
            import_module(module.name)
    codes = {each.code for each in error_codes()}
    public = [
        error
        for error in _below(DiaError)
        if error.__module__.startswith("streams.") and error.__name__[0] != "_"
    ]
    assert len(public) > 100
    assert [error for error in public if "code" in vars(error) and error.code not in codes] == []
    declared = {error.__module__ for error in public if "code" in vars(error)}
    assert declared <= {*DECLARED_IN, "streams.testing.app_tester"} | {
        name for name in declared if name.startswith("streams.dev.")
    }


def test_each_code_describes_the_reaction_of_dia_and_of_the_operator():
    """A new disposition must not make the help command raise."""
    assert set(ACTIONS) == set(Disposition)
    for each in error_codes():
        assert each.summary.endswith((".", ":")), each.code
        assert each.action.endswith(".")
        assert each.next_step.endswith(".")
        assert "{" not in each.next_step

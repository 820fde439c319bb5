"""The pytest fixture ``app_tester``; pytest finds it by the entry point of this package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from streams.testing.app_tester import AppTester


@pytest.fixture
def app_tester() -> Iterator[Callable[..., AppTester]]:
    """`streams.testing.AppTester`, whose testers are closed at the end of the test."""
    from streams.testing.app_tester import AppTester  # noqa: PLC0415 - pytest loads this module in every run

    made: list[AppTester] = []

    def tester(*args: Any, **options: Any) -> AppTester:
        made.append(AppTester(*args, **options))
        return made[-1]

    yield tester
    for one in made:
        one.close()

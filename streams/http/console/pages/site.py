"""The pages there are, as data: what the navigation shows and the routes serve."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """``name`` is that of its template and of its module; ``key`` follows a ``g`` on the keyboard.
    ``chosen``: shown only where the app asks for it (`App.pages`): its tables are not every app's.
    """

    path: str
    name: str
    title: str
    key: str
    chosen: bool = False


PAGES = (
    Page("/", "overview", "Overview", "o"),
    Page("/explore", "explore", "Explore", "e", chosen=True),
    Page("/dead-letters", "letters", "Dead letters", "l"),
    Page("/decisions", "decisions", "Decisions", "d", chosen=True),
    Page("/training", "training", "Training", "t", chosen=True),
    Page("/pipeline", "pipeline", "Pipeline", "p"),
)


def pages_of(chosen: Collection[str]) -> tuple[Page, ...]:
    """The pages of an app that asks for the ``chosen`` ones, in the order of the navigation."""
    return tuple(page for page in PAGES if not page.chosen or page.name in chosen)

"""The pages there are, as data: what the navigation shows and the routes serve."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """``name`` is that of its template and of its module; ``key`` follows a ``g`` on the keyboard."""

    path: str
    name: str
    title: str
    key: str


PAGES = (
    Page("/", "overview", "Overview", "o"),
    Page("/explore", "explore", "Explore", "e"),
    Page("/dead-letters", "letters", "Dead letters", "l"),
    Page("/decisions", "decisions", "Decisions", "d"),
    Page("/training", "training", "Training", "t"),
    Page("/pipeline", "pipeline", "Pipeline", "p"),
)

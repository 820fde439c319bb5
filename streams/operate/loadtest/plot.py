"""Line plots as SVG text, for a page without scripts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Final, NamedTuple

WIDTH: Final = 720
HEIGHT: Final = 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 10, 28
_STEPS: Final = (1, 2, 5, 10)


class PlotLine(NamedTuple):
    """``values`` are evenly spaced; None: a gap. ``kind`` is its CSS class."""

    label: str
    kind: str
    values: Sequence[float | None]


class TargetLine(NamedTuple):
    """A threshold, drawn across the plot."""

    label: str
    value: float


def plot(
    title: str, unit: str, width_s: float, lines: Sequence[PlotLine], target: TargetLine | None
) -> str:
    """``width_s`` is the time between two values."""
    every = [one for line in lines for one in line.values if one is not None]
    most = max([*every, target.value if target is not None else 0.0], default=0.0)
    top = _round_up(most)
    spans = max((len(line.values) for line in lines), default=1)

    def x(place: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * place / max(1, spans)

    def y(value: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * value / top

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for share in (0.0, 0.5, 1.0):
        at, text = y(share * top), f"{share * top:g} {unit}"
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
        parts.append(
            f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{escape(text)}</text>'
        )
    for share in (0.0, 0.5, 1.0):
        text = f"{share * spans * width_s:.0f} s"
        parts.append(
            f'<text x="{x(share * spans):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{text}</text>'
        )
    if target is not None:
        at = y(target.value)
        parts.append(
            f'<line class="target" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
    for line in lines:
        path = " ".join(_path(line.values, x, y))
        parts.append(f'<path class="{line.kind}" d="{path}"/>' if path else "")
    legend = "".join(f'<span class="{line.kind}">{escape(line.label)}</span>' for line in lines)
    if target is not None:
        legend += f'<span class="target">{escape(target.label)}</span>'
    return (
        f"<figure><figcaption>{escape(title)} {legend}</figcaption>{''.join(parts)}</svg></figure>"
    )


def _path(
    values: Sequence[float | None], x: Callable[[float], float], y: Callable[[float], float]
) -> Iterator[str]:
    """At the middle of each interval; a value between two gaps is a dot."""
    word = "M"
    for place, value in enumerate(values):
        if value is None:
            word = "M"
            continue
        at = f"{x(place + 0.5):.1f},{y(value):.1f}"
        alone = word == "M" and (place + 1 == len(values) or values[place + 1] is None)
        yield f"{word}{at}" + ("h0.1" if alone else "")
        word = "L"


def _round_up(most: float) -> float:
    """To 1, 2 or 5 times a power of ten."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in _STEPS if step * power >= most * (1 - 1e-9))

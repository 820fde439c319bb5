"""Questions of newcomers are answered at most two links away from the README. Each question lists
the links to follow from the README, and words of the answer in the linked section or file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOPS_MAX = 2

LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)")
HEADING = re.compile(r"^(#+) (.+)$")

QUESTIONS = {
    "where is a duplicate decided": (
        ["streams/engine/identities/seen_events.py"],
        ("class SeenEvents", "duplicate"),
    ),
    "what happens at kill -9 between C3 and C4": (
        ["ARCHITECTURE.md#protocols", "docs/protocols/commit.md#commit"],
        (
            "after a kill -9 between C3 and C4 nothing is lost",
            "Only here does the work become true",
        ),
    ),
    "how do I add a topic": (
        ["docs/extend.md#add-a-topic"],
        ("app.topic", "agents/app.py", "dia schemas check --publish", "dia topics apply"),
    ),
    "how do I add a window": (
        ["docs/extend.md#add-a-window"],
        ("app.windows", "agents/app.py", "dia migrate apply"),
    ),
    "how do I add a sink": (
        ["docs/extend.md#add-a-sink"],
        ("app.sink", "streams/core/rows/row_sink.py", "RowsRefused"),
    ),
    "how do I add a dead-letter code": (
        ["docs/extend.md#add-a-dead-letter-code"],
        ("BadRecord", "streams/core/records/bad_records.py", "streams/core/errors.py"),
    ),
    "how do I add a console page": (
        ["docs/extend.md#add-a-console-page"],
        ("api_routes", "openapi/paths.py", "PAGES", "templates/", "static/pages/"),
    ),
    "how do I repair a bad deploy": (
        ["docs/repair.md#events-that-were-refused"],
        ("dia dlq list", "dia replay plan", "dia replay run"),
    ),
    "what does an alert mean": (
        ["ops/runbooks", "ops/runbooks/DiaPartitionStopped.md#meaning"],
        ("stopped", "The label `code` names it"),
    ),
    "how do I run it on Kubernetes": (
        ["ops/README.md#a-cluster"],
        ("helm upgrade --install dia", "dia topics", "dia migrate apply"),
    ),
}


def _links(page: Path) -> set[str]:
    """Targets of the links of a page, as paths from the root with their anchors; the files of a
    folder.
    """
    if page.is_dir():
        return {_path(file) for file in page.iterdir()}
    found = set()
    for link in LINK.findall(page.read_text()):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            target = os.path.relpath(page.parent / path, ROOT) if path else _path(page)
            found.add(f"{target}#{anchor}" if anchor else target)
    return found


def _path(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _section(page: Path, anchor: str) -> str:
    """The text below the heading of ``anchor``, up to the next heading of the same or a higher
    level.
    """
    depth, lines = 0, []
    for line in page.read_text().splitlines():
        heading = HEADING.match(line)
        if heading and depth and len(heading[1]) <= depth:
            break
        if depth:
            lines.append(line)
        elif heading and _anchor(heading[2]) == anchor:
            depth = len(heading[1])
    assert depth, f"{_path(page)} has no heading #{anchor}"
    return "\n".join(lines)


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _reached(way: list[str], asked: str) -> tuple[Path, str]:
    """The last page of a path of links and the anchor in it; each page must have the next link. A
    link to a page also leads to its sections.
    """
    page, anchor = ROOT / "README.md", ""
    for target in way:
        path, _, anchor = target.partition("#")
        links = _links(page)
        assert {target, path} & links, f"{asked}: {_path(page)} does not link {target}"
        page = ROOT / path
    return page, anchor


@pytest.mark.parametrize("asked", QUESTIONS)
def test_a_newcomer_finds_the_answer_within_two_links(asked):
    """The path breaks when a page is renamed, a link is dropped, or the answer moves."""
    way, words = QUESTIONS[asked]
    assert len(way) <= HOPS_MAX
    page, anchor = _reached(way, asked)
    answer = _section(page, anchor) if anchor else page.read_text()
    assert [word for word in words if word not in answer] == []


def test_a_way_without_its_link_is_not_a_way():
    """The check must refuse a target that the page does not link."""
    with pytest.raises(
        AssertionError, match=r"README\.md does not link streams/core/wake_signal\.py"
    ):
        _reached(["streams/core/wake_signal.py"], "how does a loop wake")
    with pytest.raises(AssertionError, match="has no heading #add-a-moon"):
        _section(ROOT / "docs" / "extend.md", "add-a-moon")

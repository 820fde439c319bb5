"""The files the pages are made of: whole, versioned, ours or recorded, and safe under the CSP."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from streams.http.console.pages import bundle, rendering
from streams.http.console.pages.bundle import Bundle
from streams.http.console.pages.rendering import PAGES

STATIC = bundle.FOLDER
TEMPLATES = rendering.TEMPLATES
VENDORED = json.loads((STATIC / "vendor" / "vendored.json").read_text())
OURS = [*STATIC.glob("*.js"), *STATIC.glob("pages/*.js")]
_IMPORT = re.compile(r'^import .*? from "(?P<path>[^"]+)";$', re.MULTILINE | re.DOTALL)


@pytest.fixture
async def http():
    """The bundle behind its route."""
    files = Bundle()
    app = Starlette(routes=[Route("/static/{digest}/{name:path}", files.answer)])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://t{files.path}/") as client:
        yield client


@pytest.mark.parametrize("package", VENDORED, ids=lambda package: package["name"])
def test_vendored_files_are_those_of_the_recorded_release(package):
    """Nobody may change a line of another's code unseen, and its licence comes with it."""
    folder = STATIC / "vendor" / package["name"]
    assert {path.name for path in folder.iterdir()} == {*package["sha256"]}
    for name, digest in package["sha256"].items():
        assert sha256((folder / name).read_bytes()).hexdigest() == digest
    assert package["licence"] in (folder / "LICENSE").read_text()


def test_modules_import_only_files_of_the_bundle():
    """A path that leads nowhere is a blank page, and one that leads elsewhere is a CDN."""
    for module in OURS:
        for found in _IMPORT.finditer(module.read_text()):
            assert found["path"].startswith(("./", "../"))
            assert (module.parent / found["path"]).resolve().is_file(), (module.name, found["path"])


def test_every_page_has_a_template_and_a_module():
    """The navigation must not lead into the void."""
    for page in PAGES:
        assert (TEMPLATES / f"{page.name}.html").is_file()
        assert (STATIC / "pages" / f"{page.name}.js").is_file()


@pytest.mark.parametrize("template", sorted(TEMPLATES.iterdir()), ids=lambda path: path.name)
def test_templates_hold_no_script_or_style_of_their_own(template):
    """The CSP forbids both, so they would be dead; an escape that is switched off would be worse."""
    text = template.read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text) == []
    assert "safe" not in re.findall(r"\|\s*(\w+)", text)
    assert "https://" not in text


def test_no_module_writes_markup():
    """Text of records reaches the page as text: there is no way for it to become an element."""
    for module in OURS:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", module.read_text()
        )


async def test_a_file_may_be_kept_for_ever(http):
    """Its path names its content, so a browser never has to ask for it twice."""
    answer = await http.get("console.css")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"].startswith("text/css")
    assert answer.content == (STATIC / "console.css").read_bytes()
    packed = await http.get("console.css", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in packed.headers
    assert packed.content == answer.content


@pytest.mark.parametrize("name", ["..%2Frendering.py", "vendor/vendored.json", "no.js", ""])
async def test_nothing_but_the_bundle_is_served(http, name):
    """A path is looked up among the names of the bundle, never in the file system."""
    assert (await http.get(name)).status_code == 404


async def test_another_version_is_not_served_as_this_one(http):
    """A page of an older console must fail loudly instead of mixing old and new modules."""
    answer = await http.get("http://t/static/0000000000000000/console.css")
    assert answer.status_code == 404


def test_a_changed_file_has_another_path(tmp_path):
    """Or browsers would keep the old one."""
    (tmp_path / "a.js").write_text("1")
    first = Bundle(Path(tmp_path)).path
    (tmp_path / "a.js").write_text("2")
    assert Bundle(Path(tmp_path)).path != first

"""The files of the pages: complete, versioned, ours or recorded, and valid under the CSP."""

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
def test_vendored_files_equal_the_recorded_release(package):
    """No vendored line changes unnoticed, and the licence is included."""
    folder = STATIC / "vendor" / package["name"]
    assert {path.name for path in folder.iterdir()} == {*package["sha256"]}
    for name, digest in package["sha256"].items():
        assert sha256((folder / name).read_bytes()).hexdigest() == digest
    assert package["licence"] in (folder / "LICENSE").read_text()


def test_modules_import_only_files_of_the_bundle():
    """A wrong path makes a blank page, and an external one depends on a CDN."""
    for module in OURS:
        for found in _IMPORT.finditer(module.read_text()):
            assert found["path"].startswith(("./", "../"))
            assert (module.parent / found["path"]).resolve().is_file(), (module.name, found["path"])


def test_every_page_has_a_template_and_a_module():
    """Every entry of the navigation leads to a page."""
    for page in PAGES:
        assert (TEMPLATES / f"{page.name}.html").is_file()
        assert (STATIC / "pages" / f"{page.name}.js").is_file()


@pytest.mark.parametrize("template", sorted(TEMPLATES.iterdir()), ids=lambda path: path.name)
def test_templates_have_no_inline_script_or_style(template):
    """The CSP forbids inline scripts and styles, so they would not run; disabled escaping would be
    unsafe.
    """
    text = template.read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text) == []
    assert "safe" not in re.findall(r"\|\s*(\w+)", text)
    assert "https://" not in text


def test_no_module_inserts_markup():
    """Text of records reaches the page as text and cannot become an element."""
    for module in OURS:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", module.read_text()
        )


async def test_a_file_is_cached_without_a_limit(http):
    """The path contains a hash of the content, so a browser caches it without a limit."""
    answer = await http.get("console.css")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"].startswith("text/css")
    assert answer.content == (STATIC / "console.css").read_bytes()
    packed = await http.get("console.css", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in packed.headers
    assert packed.content == answer.content


@pytest.mark.parametrize("name", ["..%2Frendering.py", "vendor/vendored.json", "no.js", ""])
async def test_nothing_but_the_bundle_is_served(http, name):
    """Paths are looked up among the names of the bundle, not in the file system."""
    assert (await http.get(name)).status_code == 404


async def test_another_version_is_not_served_as_this_one(http):
    """A page of an older console must fail visibly instead of mixing old and new modules."""
    answer = await http.get("http://t/static/0000000000000000/console.css")
    assert answer.status_code == 404


def test_a_changed_file_has_another_path(tmp_path):
    """Otherwise browsers would keep the old file."""
    (tmp_path / "a.js").write_text("1")
    first = Bundle(Path(tmp_path)).path
    (tmp_path / "a.js").write_text("2")
    assert Bundle(Path(tmp_path)).path != first

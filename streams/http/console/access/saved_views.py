"""Saved views: names that a token gives to addresses of the console's pages.

They lie beside the tokens, in HOME/access/views.json, readable by its owner only and replaced atomically. A view is
known to the token that saved it, to its rotations, and to no other token: names in its address are shown to their
writer only. Those of a token that is gone are dropped at the next change; those of a person who signs in at a provider stay."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec

from streams.connect.access.refusals import (
    BadRequest,
    Forbidden,
    UnknownResource,
    ViewsUnavailable,
)
from streams.connect.access.tokens import AccessToken, TokenFile
from streams.core.errors import RefusedBySafety
from streams.core.process.atomic_file import write_atomically
from streams.core.process.file_lock import exclusive
from streams.core.process.file_modes import private_folder

TOKEN_VIEWS_MAX = 50
OWNER_VIEWS_MAX = 200
VIEWS_MAX = 2000
"""of all tokens: the file is read whole"""
NAME_MAX = 80
ADDRESS_MAX = 2000
_LOCK_TIMEOUT_S = 5.0
_PARAMETERS_MAX = 100


class SavedView(msgspec.Struct, frozen=True):
    """``address`` is a path of a page with its filters."""

    id: str
    name: str
    address: str
    saved_ms: int


class _Document(msgspec.Struct):
    """The file: ``version`` 1, and the views of each holder of a token. ``persons``: owners of
    those that belong to people who sign in without a token."""

    version: int
    views: dict[str, list[SavedView]]
    persons: dict[str, str] = {}


class ViewFile:
    """Blocks on the disk. Raises `ViewsUnavailable` when the file cannot be read or written."""

    def __init__(self, path: Path, tokens: TokenFile) -> None:
        self._path = path
        self._tokens = tokens

    def of(self, token: AccessToken) -> list[SavedView]:
        """By name."""
        with _told():
            found = self._read().views.get(token.holder, [])
        return sorted(found, key=lambda view: view.name.casefold())

    def save(self, token: AccessToken, name: str, address: str, now_ms: int) -> SavedView:
        """A view of the same name is replaced. Raises `BadRequest` and `Forbidden` for an address that
        the token may not save, `RefusedBySafety` beyond a bound."""
        view = SavedView(secrets.token_hex(8), _named(name), address, now_ms)
        _check_address(token, address)
        with self._changing(token) as document:
            views = document.views
            kept = [one for one in views.get(token.holder, []) if one.name != view.name]
            self._check_bounds(token, len(kept) + 1, document)
            views[token.holder] = [*kept, view]
        return view

    def delete(self, token: AccessToken, view_id: str) -> None:
        """Raises `UnknownResource` for an id that this token does not have."""
        with self._changing(token) as document:
            views = document.views
            own = views.get(token.holder, [])
            views[token.holder] = [one for one in own if one.id != view_id]
            if len(views[token.holder]) == len(own):
                raise UnknownResource("this token has no such view")

    def _check_bounds(self, token: AccessToken, own: int, document: _Document) -> None:
        views = document.views.items()
        others = {one: len(found) for one, found in views if one != token.holder}
        owners = {one.holder: one.owner for one in self._tokens.read()} | document.persons
        same = sum(number for one, number in others.items() if owners.get(one) == token.owner)
        for most, number, whose in (
            (TOKEN_VIEWS_MAX, own, "this token"),
            (OWNER_VIEWS_MAX, own + same, "the tokens of this tenant"),
            (VIEWS_MAX, own + sum(others.values()), "this console"),
        ):
            if number > most:
                raise RefusedBySafety(
                    f"{whose} has {most} saved views, the most: delete one first."
                )

    @contextmanager
    def _changing(self, token: AccessToken) -> Iterator[_Document]:
        with _told():
            private_folder(self._path.parent)
            lock = self._path.with_suffix(".lock")
            with exclusive(lock, _LOCK_TIMEOUT_S, waiting=lambda: None):
                found = self._read()
                persons = dict(found.persons)
                if not token.has_secret:
                    persons[token.holder] = token.owner
                known = {one.holder for one in self._tokens.read()} | persons.keys()
                views = {one: found.views[one] for one in found.views if one in known}
                yield (changed := _Document(1, views, persons))
                changed.views = {one: views[one] for one in views if views[one]}
                changed.persons = {one: persons[one] for one in persons if one in changed.views}
                write_atomically(self._path, msgspec.json.encode(changed), durable=True)

    def _read(self) -> _Document:
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=_Document)
        except FileNotFoundError:
            return _Document(1, {})
        if found.version != 1:
            raise ValueError("a newer version of dia wrote them")
        return found


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (OSError, TimeoutError, ValueError) as error:
        raise ViewsUnavailable("saved views cannot be read or written now") from error


def _named(name: str) -> str:
    found = name.strip()
    if not 1 <= len(found) <= NAME_MAX or not found.isprintable():
        raise BadRequest(f"a view's name has 1 to {NAME_MAX} printable characters")
    return found


def _check_address(token: AccessToken, address: str) -> None:
    """A path of this host: browsers read a backslash as a slash, and ``//host`` as another host."""
    try:
        parts = urlsplit(address)
        asked = parse_qs(parts.query, keep_blank_values=True, max_num_fields=_PARAMETERS_MAX)
    except ValueError:
        raise BadRequest("the address of a view cannot be read") from None
    local = address.startswith("/") and not address.startswith("//") and "\\" not in address
    if len(address) > ADDRESS_MAX or not local or not address.isprintable() or parts.fragment:
        raise BadRequest(
            f"the address of a view is a path of this console, of at most {ADDRESS_MAX} characters"
        )
    if not all(token.speaks_for(tenant) for tenant in asked.get("tenant", ())):
        raise Forbidden("this token is not valid for that tenant")

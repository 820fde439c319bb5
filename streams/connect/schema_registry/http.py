"""A schema registry over HTTP: the interface of Confluent, Karapace and Apicurio.

    GET  /schemas/ids/{id}                     the schema of an id
    GET  /subjects/{subject}/versions/{n}      a referenced schema
    POST /subjects/{subject}/versions          register; the same schema returns the same id
    POST /subjects/{subject}                   look up

200 is an answer, and so is 404 with an error code of the registry. A refused connection, a timeout,
another status, or a malformed body is a failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from streams.core.errors import SchemaRefused, SchemaRegistryUnavailable, UsageError
from streams.core.formats.schema_source import RegisteredSchema, Subject
from streams.core.process.proxies import DIRECT
from streams.core.settings import Settings, secret_file
from streams.core.settings.tls import TlsFiles

T = TypeVar("T")

ANSWER_MAX_BYTES: Final = 4 << 20
REFERENCES_MAX: Final = 100
_MEDIA: Final = "application/vnd.schemaregistry.v1+json"
_NOT_FOUND: Final = (40401, 40402, 40403)
"""of a missing subject, version and schema"""
_REFUSED: Final = (409, 422)


class _Reference(msgspec.Struct):
    name: str
    subject: str
    version: int


class _Schema(msgspec.Struct):
    text: str = msgspec.field(name="schema")
    kind: str | None = msgspec.field(name="schemaType", default=None)
    references: list[_Reference] | None = None


class _Registered(msgspec.Struct):
    id: int


class _Problem(msgspec.Struct):
    error_code: int = 0
    message: str = ""


class HttpRegistry:
    """It reads ``password`` for each request, so a rotated one takes effect."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        user: str = "",
        password: Callable[[], str] = str,
        ca_file: str = "",
    ) -> None:
        """Raises `UsageError` without an address, and for an unusable CA file."""
        if not url.startswith(("http://", "https://")):
            raise UsageError(
                f"DIA_SCHEMA_REGISTRY_URL={url} is no address of a schema registry: write "
                f"http://host:port or https://host:port."
            )
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._user = user
        self._password = password
        files = TlsFiles(variables="DIA_SCHEMA_REGISTRY", ca=ca_file)
        self._tls = files.context() if url.startswith("https://") else False

    @classmethod
    def from_settings(cls, settings: Settings) -> HttpRegistry:
        file = settings.schema_registry_password_file
        return cls(
            settings.schema_registry_url,
            timeout_s=settings.schema_registry_timeout_s,
            user=settings.schema_registry_user,
            password=lambda: secret_file.read("DIA_SCHEMA_REGISTRY_PASSWORD_FILE", file),
            ca_file=settings.schema_registry_ca_file,
        )

    async def schema(self, schema_id: int) -> RegisteredSchema | None:
        async with self._client() as client:
            found = await self._found(client, f"/schemas/ids/{schema_id}")
            if found is None:
                return None
            references: dict[str, str] = {}
            await self._refer(client, found, references)
        return RegisteredSchema(found.kind or "AVRO", found.text, (*references.items(),))

    async def register(self, subject: Subject) -> int:
        path = f"/subjects/{quote(subject.name, safe='')}"
        document: dict[str, Any] = {"schema": subject.text, "schemaType": subject.kind}
        if subject.references:
            document["references"] = [one._asdict() for one in subject.references]
        async with self._client() as client:
            status, body = await self._ask(
                client, "POST", f"{path}/versions" if subject.register else path, document
            )
        if status == httpx.codes.OK:
            return _read(body, _Registered).id
        problem = _read(body, _Problem)
        if status in _REFUSED or problem.error_code in _NOT_FOUND:
            what = problem.message or f"error {problem.error_code or status}"
            verb = "does not take" if subject.register else "does not have"
            raise SchemaRefused(
                f"the schema registry {verb} the schema of subject {subject.name}: {what}. Make the "
                f"types of the app and the registry agree, then restart the worker."
            )
        raise _no_answer(f"answered {status}: {problem.message}")

    async def _refer(
        self, client: httpx.AsyncClient, schema: _Schema, into: dict[str, str]
    ) -> None:
        for one in schema.references or ():
            if one.name in into or len(into) >= REFERENCES_MAX:
                continue
            path = f"/subjects/{quote(one.subject, safe='')}/versions/{one.version}"
            found = await self._found(client, path)
            if found is not None:
                await self._refer(client, found, into)
                into.setdefault(one.name, found.text)

    async def _found(self, client: httpx.AsyncClient, path: str) -> _Schema | None:
        status, body = await self._ask(client, "GET", path)
        if status == httpx.codes.OK:
            return _read(body, _Schema)
        problem = _read(body, _Problem)
        if status == httpx.codes.NOT_FOUND and problem.error_code in _NOT_FOUND:
            return None
        raise _no_answer(f"answered {status}: {problem.message}")

    def _client(self) -> httpx.AsyncClient:
        """One client a request: requests are rare, and event loops of commands are short."""
        try:
            password = self._password()
        except UsageError as error:
            raise _no_answer(f"cannot be reached: {error}") from error
        return httpx.AsyncClient(
            base_url=self._url,
            timeout=self._timeout_s,
            mounts=DIRECT,
            verify=self._tls,
            auth=(self._user, password) if self._user else None,
            headers={"Accept": f"{_MEDIA}, application/json"},
        )

    async def _ask(
        self,
        client: httpx.AsyncClient,
        method: str,
        path: str,
        document: Mapping[str, Any] | None = None,
    ) -> tuple[int, bytes]:
        content = None if document is None else msgspec.json.encode(document)
        headers = {"Content-Type": _MEDIA} if content is not None else {}
        body = bytearray()
        try:
            async with asyncio.timeout(self._timeout_s):
                async with client.stream(method, path, content=content, headers=headers) as answer:
                    async for part in answer.aiter_bytes():
                        body += part
                        if len(body) > ANSWER_MAX_BYTES:
                            raise _no_answer(f"sent more than {ANSWER_MAX_BYTES} bytes")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
            raise _no_answer(f"does not answer ({type(error).__name__}: {error})") from error
        return answer.status_code, bytes(body)


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise _no_answer(f"sent an invalid response: {error}") from error


def _no_answer(what: str) -> SchemaRegistryUnavailable:
    return SchemaRegistryUnavailable(
        f"the schema registry of DIA_SCHEMA_REGISTRY_URL {what}. Work that needs its schemas waits."
    )

"""One console user, as the browser appears to the server.

It signs in and keeps the cookie, holds the stream ``/live/overview`` open, and opens pages
(`page_requests`): the page, then its requests in sequence, with a pause of 1 to 2 seconds before each. It
accepts compression and sends ETags. Waiting for answers slows the requests down, so their number is
reported beside the times. A time is from the request to the last byte."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict

import aiohttp

from streams.dev.bench.console_load.page_requests import ConsoleUser

THINK_S = (1.0, 2.0)
AGAIN_S = 2.0
ANSWER_S = 15.0
STREAM = "/live/overview"
ETAGS_MAX = 200


class ReaderResult:
    """``seconds`` by path; ``errors`` by path and status; ``unchanged``: answers of 304;
    ``events``: of streams."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.errors: Counter[str] = Counter()
        self.unchanged = 0
        self.events = 0


class Reader:
    def __init__(
        self,
        http: aiohttp.ClientSession,
        token: str,
        person: ConsoleUser,
        heard: ReaderResult,
        seed: int,
    ) -> None:
        """``http`` holds the cookie of this reader alone."""
        self._http = http
        self._token = token
        self._person = person
        self._heard = heard
        self._rng = random.Random(seed)
        self._etags: dict[str, str] = {}

    async def run(self, seconds: float) -> None:
        """Sign in, read for ``seconds``, and finish open requests."""
        ends_at = asyncio.get_running_loop().time() + seconds
        await self._sign_in()
        stream = asyncio.create_task(self._watch())
        try:
            await self._walk(ends_at)
        finally:
            stream.cancel()
            await asyncio.gather(stream, return_exceptions=True)

    async def _sign_in(self) -> None:
        form = {"token": self._token}
        async with (
            self._timed("/session"),
            self._http.post("/session", data=form, allow_redirects=False) as answer,
        ):
            self._judge("/session", answer, 303)

    async def _walk(self, ends_at: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for path, query in self._person.look(self._rng):
                await asyncio.sleep(self._rng.uniform(*THINK_S))
                if loop.time() >= ends_at:
                    return
                await self._ask(path, query)

    async def _ask(self, path: str, query: dict[str, str]) -> None:
        name = f"{path}?{sorted(query.items())}"
        headers = {"If-None-Match": self._etags[name]} if name in self._etags else {}
        async with (
            self._timed(path),
            self._http.get(path, params=query, headers=headers, allow_redirects=False) as answer,
        ):
            await answer.read()
            if answer.status == 304:
                self._heard.unchanged += 1
                return
            self._judge(path, answer, 200)
            if "ETag" in answer.headers and len(self._etags) < ETAGS_MAX:
                self._etags[name] = answer.headers["ETag"]

    async def _watch(self) -> None:
        patient = aiohttp.ClientTimeout(total=None, sock_read=60.0)
        while True:
            try:
                await self._stream(patient)
            except (aiohttp.ClientError, TimeoutError) as error:
                self._heard.errors[f"{STREAM} {type(error).__name__}"] += 1
            await asyncio.sleep(AGAIN_S)

    async def _stream(self, patient: aiohttp.ClientTimeout) -> None:
        loop = asyncio.get_running_loop()
        began_s, first = loop.time(), True
        async with self._http.get(STREAM, timeout=patient) as answer:
            self._judge(STREAM, answer, 200)
            async for line in answer.content:
                if line.startswith(b"event: trouble"):
                    self._heard.errors[f"{STREAM} trouble"] += 1
                if not line.startswith(b"data:"):
                    continue
                self._heard.events += 1
                if first:
                    self._heard.seconds[STREAM].append(loop.time() - began_s)
                    first = False

    def _timed(self, path: str) -> _Timed:
        return _Timed(self._heard, path)

    def _judge(self, path: str, answer: aiohttp.ClientResponse, wanted: int) -> None:
        if answer.status != wanted:
            self._heard.errors[f"{path} {answer.status}"] += 1


class _Timed:
    """A failed connection is an error without a time."""

    def __init__(self, heard: ReaderResult, path: str) -> None:
        self._heard = heard
        self._path = path
        self._began_s = 0.0

    async def __aenter__(self) -> None:
        self._began_s = asyncio.get_running_loop().time()

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> bool:
        if kind is None:
            took_s = asyncio.get_running_loop().time() - self._began_s
            self._heard.seconds[self._path].append(took_s)
            return False
        if not issubclass(kind, aiohttp.ClientError | TimeoutError):
            return False
        self._heard.errors[f"{self._path} {kind.__name__}"] += 1
        return True

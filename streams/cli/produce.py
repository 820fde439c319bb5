"""`dia produce`: sends events to a topic, from JSON Lines or from the generator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from streams.cli.invocation import Invocation, invocation

if TYPE_CHECKING:
    from streams.cli.terminal.output import ProgressCount
    from streams.core.topics.topic import Topic
    from streams.dev.workload.generator import EventBlock
    from streams.dev.workload.requests import RequestWorkload
    from streams.dev.workload.shape import Workload
    from streams.operate.produce.feed import RecordFeed


SPAN_MAX_MS = 6 * 86_400_000
_REQUEST_BLOCK = 500


def register(app: typer.Typer) -> None:
    app.command()(produce)


_Workload = Annotated[
    str,
    typer.Option(
        help="wide (1,000 tenants, 50 models), narrow (5 models), hot (one tenant has 90 %), dups "
        "(30 % repeats), single (one series), or a spelling of JSON: spaced, escaped, utf8."
    ),
]


_Schema = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Schema version of the lines; default 1. `dia schemas list`."
    ),
]
_StartMs = Annotated[
    int | None,
    typer.Option(metavar="MS", help="Event time of the first one, in ms since 1970 UTC."),
]
_FromLine = Annotated[
    int,
    typer.Option(min=1, metavar="N", help="Begin at this line of FILE, to go on after an outage."),
]
_Wait = Annotated[
    str, typer.Option(metavar="SPAN", help="Give up after Kafka was away for so long.")
]


def _share(what: str) -> Any:
    return typer.Option(min=0, max=1, metavar="SHARE", help=f"Share of synthetic events {what}.")


def produce(
    ctx: typer.Context,
    topic: Annotated[
        str, typer.Argument(metavar="TOPIC", help="A topic that `dia topics list` lists.")
    ],
    *,
    file: Annotated[
        str | None, typer.Option(metavar="FILE", help="JSON Lines; - reads stdin.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first line that is refused.")
    ] = False,
    from_line: _FromLine = 1,
    wait: _Wait = "5m",
    generate: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Make N synthetic events instead.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, metavar="R", help="Events per second; default: no limit."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the synthetic events: same seed, same events.")
    ] = 1,
    start_ms: _StartMs = None,
    workload: _Workload = "wide",
    duplicates: Annotated[float | None, _share("that repeat an earlier one")] = None,
    late: Annotated[float | None, _share("with old times")] = None,
    poison: Annotated[float | None, _share("that no agent can process")] = None,
    future: Annotated[float | None, _share("with times far ahead")] = None,
    schema: _Schema = None,
    traceparent: Annotated[
        str,
        typer.Option(
            envvar="TRACEPARENT", metavar="HEADER", help="Of a W3C trace that follows the events."
        ),
    ] = "",
) -> None:
    """Send events; the key comes from each event, and every line is validated first.

    Lines that the pipeline would refuse are reported with their numbers and not sent (exit code 3).
    Generated events are sent unchecked: they include duplicates, late, poisoned and far-future
    ones. If Kafka goes away, the command waits for it, and sends no record twice. If it gives up
    (exit code 4) or is interrupted, it says what Kafka has acknowledged and how to go on.

    Example: dia produce model.metrics --file events.jsonl
    """
    from streams.core.errors import UsageError
    from streams.core.words.moments import span_s

    run = invocation(ctx)
    source = _source(run, topic)
    if (file is None) == (generate is None):
        raise UsageError("name the events: --file FILE (--file - for stdin), or --generate N.")
    if generate is not None and from_line > 1:
        raise UsageError("--from-line is of the lines of --file.")
    version = _version(source, schema, generating=generate is not None)
    patience_s = span_s(wait, "--wait")
    feeding = _Feeding(run, source.name, version, _followed(traceparent), patience_s)
    if file is not None:
        asyncio.run(_produce_lines(feeding, source, file, strict=strict, from_line=from_line))
        return
    assert generate is not None
    if _generates(run, source) == "requests":
        requests = _request_shape(generate, rate, start_ms, seed, duplicates, poison)
        asyncio.run(_produce_requests(feeding, requests, generate, rate))
        return
    shares = {"duplicates": duplicates, "late": late, "poison": poison, "future": future}
    shape = _shape(workload, generate, rate, start_ms, seed=seed, shares=shares)
    asyncio.run(_produce_synthetic(feeding, source, shape, generate, rate))


def _source(run: Invocation, topic: str) -> Topic:
    from streams.core.errors import UsageError

    try:
        return run.topology.topic(topic)
    except KeyError as error:
        raise UsageError(str(error.args[0])) from None


def _generates(run: Invocation, source: Topic) -> Literal["metrics", "requests"]:
    """Raises `UsageError` for a topic without a generator."""
    from streams.core.errors import UsageError
    from streams.dev.workload.generated import GENERATED

    if (found := GENERATED.get(source.type)) is not None:
        return found
    known = " and ".join(topic.name for topic in run.topology.topics if topic.type in GENERATED)
    raise UsageError(
        f"the generator makes events of {known or 'no topic of this app'} only. Send your own: "
        f"--file FILE."
    )


def _version(source: Topic, asked: int | None, *, generating: bool) -> int:
    """Raises `UsageError` for an unpublished version."""
    from streams.core.errors import UsageError
    from streams.core.records.headers import UNNAMED_VERSION

    if asked is None:
        return UNNAMED_VERSION
    if generating:
        raise UsageError("--schema is of the lines of --file; generated events name their own.")
    if asked not in source.versions:
        known = ", ".join(map(str, sorted(source.versions)))
        raise UsageError(f"{source.schema} has no schema version {asked}; published are: {known}.")
    return asked


def _shape(
    name: str,
    events: int,
    rate: float | None,
    start_ms: int | None,
    *,
    seed: int,
    shares: dict[str, float | None],
) -> Workload:
    from streams.dev.workload.shape import STEP_MS, preset

    start_ms, step_ms = _times(events, STEP_MS, rate, start_ms)
    given = {name: share for name, share in shares.items() if share is not None}
    return preset(name, start_ms=start_ms, seed=seed, step_ms=step_ms, **given)


def _request_shape(
    requests: int,
    rate: float | None,
    start_ms: int | None,
    seed: int,
    duplicates: float | None,
    poison: float | None,
) -> RequestWorkload:
    from streams.dev.workload.requests import RequestWorkload

    start_ms, step_ms = _times(requests, 10.0, rate, start_ms)
    shares = {"duplicates": duplicates, "poison": poison}
    given: dict[str, Any] = {name: share for name, share in shares.items() if share is not None}
    return RequestWorkload(start_ms=start_ms, seed=seed, step_ms=step_ms, **given)


def _times(
    count: int, step_max_ms: float, rate: float | None, start_ms: int | None
) -> tuple[int, float]:
    """Start and step. With a rate, event times follow the wall clock; else they end now and span
    at most six days, so that none is too old. Raises `UsageError` for a start in seconds."""
    from streams.core.clock import SystemClock
    from streams.core.errors import UsageError
    from streams.engine.decode.codecs import SECONDS_MAX, SECONDS_MIN

    if start_ms is not None and SECONDS_MIN <= start_ms < SECONDS_MAX:
        raise UsageError(f"--start-ms {start_ms} looks like seconds: write {start_ms * 1000}.")

    step_ms = min(step_max_ms, SPAN_MAX_MS / count) if rate is None else 1000 / rate
    if start_ms is None:
        start_ms = SystemClock().now_ms() - (0 if rate else round(count * step_ms))
    return start_ms, step_ms


async def _produce_requests(
    feeding: _Feeding, shape: RequestWorkload, requests: int, rate: float | None
) -> None:
    from streams.dev.workload.requests import RequestGenerator

    generator = RequestGenerator(shape)
    block = _REQUEST_BLOCK if rate is None else max(1, min(_REQUEST_BLOCK, round(rate / 10)))
    blocks = generator.blocks(requests, block)
    sent = await _send_blocks(feeding, blocks, requests, rate, shape)
    oracle = generator.oracle
    feeding.run.printer().record(
        {
            **sent,
            "keys": oracle.keys,
            "repeats": oracle.repeats,
            "conflicts": oracle.conflicts,
            "poison": oracle.poison,
            "seed": shape.seed,
            "start_ms": shape.start_ms,
        }
    )


class _Feeding(NamedTuple):
    run: Invocation
    topic: str
    version: int
    traceparent: bytes
    patience_s: float

    @asynccontextmanager
    async def opened(
        self,
        progress: ProgressCount,
        way_on: Callable[[RecordFeed], str],
        rate: float | None = None,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> AsyncIterator[RecordFeed]:
        """``way_on`` makes the message of an outage or an interruption: how to go on."""
        from streams.cli.clients import broker_of
        from streams.core.clock import SystemClock
        from streams.core.errors import DiaError
        from streams.core.records.headers import of_version
        from streams.core.telemetry.metrics import Metrics
        from streams.core.tracing.opening import CLOSE_TIMEOUT_S, tracer_of
        from streams.operate.produce.feed import RecordFeed

        settings, clock = self.run.settings, SystemClock()
        tracer = tracer_of(settings, "dia-produce", clock, Metrics())

        def waiting(waited_s: float) -> None:
            away = f", Kafka is away: {waited_s:.0f} s of {self.patience_s:.0f}" if waited_s else ""
            progress.update(description=f"producing to {self.topic}{away}")

        producer = broker_of(settings).plain_producer()
        await producer.start()
        try:
            feed = RecordFeed(
                producer,
                self.topic,
                clock,
                rate_per_s=rate,
                on_progress=on_progress,
                on_waiting=waiting,
                patience_s=self.patience_s,
                tracer=tracer,
                traceparent=self.traceparent,
                headers=of_version(self.version),
            )
            with _ways_on(self.run.printer().warn, partial(way_on, feed)):
                yield feed
        except BaseException:
            with suppress(DiaError):  # the first error says more
                await producer.close()
            raise
        else:
            await producer.close()
        finally:
            tracer.close(CLOSE_TIMEOUT_S)


def _followed(traceparent: str) -> bytes:
    """Empty without a trace."""
    from streams.core.errors import UsageError
    from streams.core.tracing.context import TraceContext

    context = TraceContext.read(traceparent.encode(errors="replace"))
    if traceparent and context is None:
        raise UsageError(
            f"Invalid --traceparent {traceparent!r}: use 00-, 32 hexadecimal digits, -, 16 of them, "
            "-01, as https://www.w3.org/TR/trace-context/ has it."
        )
    return context.header if context is not None and context.sampled else b""


@contextmanager
def _ways_on(say: Callable[[str], None], way_on: Callable[[], str]) -> Iterator[None]:
    """What an outage or an interruption ended says how to go on."""
    from streams.core.errors import BrokerUnavailable

    try:
        yield
    except BrokerUnavailable as error:
        error.add_note(way_on())
        raise
    except asyncio.CancelledError:
        say(way_on())
        raise


async def _send_blocks(
    feeding: _Feeding,
    blocks: Iterable[EventBlock],
    events: int,
    rate: float | None,
    shape: Workload | RequestWorkload,
) -> dict[str, Any]:
    """Returns the summary's figures."""
    from streams.core.clock import SystemClock

    printer, topic, clock = feeding.run.printer(), feeding.topic, SystemClock()

    def way_on(feed: RecordFeed) -> str:
        return (
            f"{feed.acknowledged:,} of {events:,} events are acknowledged. The same command with "
            f"--seed {shape.seed} --start-ms {shape.start_ms} sends the same events again, and "
            "those that Kafka has count once."
        )

    with printer.progress(f"producing to {topic}", events, "events") as progress:
        async with feeding.opened(progress, way_on, rate, progress.advance) as feed:
            started_at = clock.monotonic()
            for block in blocks:
                await feed.send(*block)
            await feed.drain()
    seconds = round(clock.monotonic() - started_at, 3)
    return {"topic": topic, "sent": feed.acknowledged, "seconds": seconds}


async def _produce_synthetic(
    feeding: _Feeding, source: Topic, shape: Workload, events: int, rate: float | None
) -> None:
    from streams.dev.workload.generator import BLOCK_EVENTS, Generator

    generator = Generator(shape)
    block_events = BLOCK_EVENTS if rate is None else max(1, min(BLOCK_EVENTS, round(rate / 10)))
    blocks = generator.blocks(events, block_events)
    sent = await _send_blocks(feeding, blocks, events, rate, shape)
    oracle = generator.oracle
    feeding.run.printer().record(
        {
            **sent,
            "new": oracle.applied,
            "duplicates": oracle.duplicates,
            "dead_letters": dict(sorted(oracle.dead.items())),
            "seed": shape.seed,
            "start_ms": shape.start_ms,
        }
    )


async def _produce_lines(
    feeding: _Feeding, source: Topic, file: str, *, strict: bool, from_line: int
) -> None:
    from streams.cli.line_validator import LineValidator, open_lines
    from streams.core.clock import SystemClock
    from streams.core.errors import PartialResult
    from streams.operate.produce.lines import line_blocks, read_aside

    run, clock = feeding.run, SystemClock()
    printer = run.printer()
    desk = LineValidator(run.settings, source, printer, strict=strict, version=feeding.version)

    def way_on(feed: RecordFeed) -> str:
        return (
            f"{feed.acknowledged:,} lines are acknowledged. Go on with the same command and "
            f"--from-line {max(from_line, feed.acknowledged_to + 1)}. Kafka may have lines from there on already: "
            "events with an id count once."
        )

    with (
        open_lines(file) as reader,
        printer.progress(f"producing to {source.name}", reader.size, "bytes") as progress,
    ):
        async with feeding.opened(progress, way_on) as feed:
            async for block in read_aside(line_blocks(reader, desk.line_bytes_max)):
                lines = [line for line in block if line.number >= from_line]
                sent = await desk.accept(lines, clock.now_ms())
                await feed.send(*sent, block[-1].number)
                progress.update(completed=reader.position)
                if desk.stopped:
                    break
            await feed.drain()
    printer.record(
        {
            "topic": source.name,
            "sent": feed.acknowledged,
            "refused": desk.refused.total(),
            "by_code": dict(sorted(desk.refused.items())),
        }
    )
    if desk.refused:
        stopped = f"; stopped at line {desk.last_refused}" if desk.stopped else ""
        raise PartialResult(
            f"{feed.acknowledged:,} lines sent, {desk.refused.total():,} refused (above){stopped}. Correct "
            "the refused lines and send them in a file of their own: lines already sent would be sent twice."
        )

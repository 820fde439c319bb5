"""Series of a request: their tenant, model and name, and the beginning of their events.

A series is made once a request, its events many times, so what they share is encoded here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple, TypeAlias

import msgspec
from xxhash import xxh3_128_digest, xxh3_128_hexdigest

from streams.connect.access.tokens import AccessToken
from streams.core.records.bad_records import MissingField, OutOfRange
from streams.core.settings import Settings

TENANT_MISMATCH: Final = "tenant_mismatch"
NAME_CHARS_MAX: Final = 128
_DIGEST_BYTES: Final = 10
_KEPT_CHARS: Final = NAME_CHARS_MAX - 2 * _DIGEST_BYTES - 1
_METRIC_LABEL: Final = "__name__"

Labels: TypeAlias = Sequence[tuple[str, str]]
"""Names and values, ascending by name."""


class Refusal(NamedTuple):
    code: str
    message: str


@dataclass(slots=True, eq=False)
class NamedSeries:
    """Of one metric with its labels. ``refusal``: of all its points; then it has no events."""

    who: str
    """fields of tenant and model, as JSON"""
    metric: str
    labels: str
    digest: str
    refusal: Refusal | None = None
    head: str = field(init=False, default="")
    """an event up to the end of its id, which the time and the closing quote follow"""

    def __post_init__(self) -> None:
        if self.refusal is None:
            self.head = self.head_of("")

    def head_of(self, suffix: str) -> str:
        """``suffix`` is one more of the metric's name."""
        name = _quoted(bounded(f"{self.metric}{suffix}{self.labels}"))
        return f'{{{self.who},"metric":{name},"event_id":"{self.digest}{suffix}-'


@dataclass(frozen=True, kw_only=True)
class MetricNames:
    """Which attributes and labels name a tenant and a model."""

    otlp_tenant: str
    otlp_model: str
    otlp_labels: frozenset[str]
    prometheus_tenant: str
    prometheus_model: str

    @classmethod
    def of(cls, settings: Settings) -> MetricNames:
        labels = (one.strip() for one in settings.otlp_labels.split(","))
        return cls(
            otlp_tenant=settings.otlp_tenant,
            otlp_model=settings.otlp_model,
            otlp_labels=frozenset(filter(None, labels)),
            prometheus_tenant=settings.prometheus_tenant,
            prometheus_model=settings.prometheus_model,
        )


class Source(NamedTuple):
    """What made the metrics of an OTLP request: a resource and a scope."""

    who: str
    labels: Labels
    identity: bytes
    refusal: Refusal | None


class SeriesNaming:
    """Names the series of one request, which ``token`` sent."""

    def __init__(self, names: MetricNames, token: AccessToken) -> None:
        self._names = names
        self._token = token

    def source(self, resource: Labels, scope: Labels) -> Source:
        names, said = self._names, dict(resource)
        who, refusal = self._who(
            said.get(names.otlp_tenant),
            said.get(names.otlp_model),
            f"resource attribute {names.otlp_tenant} (DIA_OTLP_TENANT)",
            f"resource attribute {names.otlp_model} (DIA_OTLP_MODEL)",
        )
        # Each series of the source repeats these: their size must not depend on the sender.
        shown = [(name, bounded(value)) for name, value in resource if name in names.otlp_labels]
        return Source(who, shown, xxh3_128_digest(_packed((resource, scope))), refusal)

    def otlp(
        self, source: Source, metric: str, unit: str, kind: str, attributes: Labels
    ) -> NamedSeries:
        labels = attributes
        if source.labels:
            labels = sorted((dict(source.labels) | dict(attributes)).items())
        if not metric:
            nameless = Refusal(MissingField.code, "a metric has no name")
            return NamedSeries(source.who, "", "", "", source.refusal or nameless)
        digest = xxh3_128_hexdigest(source.identity + _packed((metric, unit, kind, attributes)))
        return NamedSeries(source.who, metric, _text(labels), digest, source.refusal)

    def prometheus(self, labels: Labels) -> NamedSeries:
        names, said = self._names, dict(labels)
        metric = said.pop(_METRIC_LABEL, "")
        who, refusal = self._who(
            said.pop(names.prometheus_tenant, None),
            said.pop(names.prometheus_model, None),
            f"label {names.prometheus_tenant} (DIA_PROMETHEUS_TENANT)",
            f"label {names.prometheus_model} (DIA_PROMETHEUS_MODEL)",
        )
        if not metric:
            nameless = Refusal(MissingField.code, f"a series has no label {_METRIC_LABEL}")
            return NamedSeries(who, "", "", "", refusal or nameless)
        digest = xxh3_128_hexdigest(_packed(labels))
        return NamedSeries(who, metric, _text([*said.items()]), digest, refusal)

    def _who(
        self, tenant: str | None, model: str | None, tenant_is: str, model_is: str
    ) -> tuple[str, Refusal | None]:
        bound = self._token.tenant
        if bound is not None and tenant not in (None, bound):
            what = f"{tenant_is}: this token is not valid for tenant {tenant!r:.80}"
            return "", Refusal(TENANT_MISMATCH, what)
        tenant = tenant if bound is None else bound
        for value, what in ((tenant, tenant_is), (model, model_is)):
            if not value:
                return "", Refusal(MissingField.code, f"{what} is missing")
            if len(value) > NAME_CHARS_MAX:
                why = f"{what} has {len(value)} characters, of {NAME_CHARS_MAX} at most"
                return "", Refusal(OutOfRange.code, why)
        return f'"tenant_id":{_quoted(tenant)},"model_id":{_quoted(model)}', None


def bounded(name: str) -> str:
    """``name``, or its beginning and a hash of the whole, with `NAME_CHARS_MAX` characters."""
    if len(name) <= NAME_CHARS_MAX:
        return name
    digest = blake2b(name.encode(), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{name[:_KEPT_CHARS]}~{digest}"


def _text(labels: Labels) -> str:
    """As Prometheus writes them; "" for none."""
    if not labels:
        return ""
    said = ",".join(f"{name}={_quoted(value)}" for name, value in labels)
    return f"{{{said}}}"


def _quoted(text: str | None) -> str:
    return msgspec.json.encode(text).decode()


_packed = msgspec.msgpack.Encoder().encode

"""Metrics of the HTTP servers: edge, query API, console, and their connections."""

from __future__ import annotations

from streams.core.telemetry.declaring import Declare

REQUEST_BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.075, 0.1, 0.15, 0.2, 0.35, 0.5, 1, 2, 5, 10, 30)


class ConnectionMetrics:
    """For requests that reach no application."""

    def __init__(self, declare: Declare) -> None:
        self.refused = declare.counter(
            "http_refused_total",
            "Connections and requests that ended before a token was looked at: crowded, made room "
            "for another; head_late, head_too_large, malformed, no_handshake; reads_nothing.",
            ("reason",),
        )


class EdgeMetrics:
    def __init__(self, declare: Declare) -> None:
        self.requests = declare.counter(
            "edge_requests_total", "Requests to post events, by status.", ("code",)
        )
        self.seconds = declare.histogram(
            "edge_request_seconds",
            "Time to the answer of a request, from its first byte; posts wait for their commit.",
            REQUEST_BUCKETS_S,
            ("route",),
        )
        self.events = declare.counter(
            "edge_events_total", "Events that were acknowledged.", ("topic",)
        )
        self.refused = declare.counter(
            "edge_refused_events_total",
            "Events that were refused; the answers give the reasons.",
            ("topic", "error_code"),
        )
        self.absent_points = declare.counter(
            "edge_absent_points_total",
            "Points of OpenTelemetry and Prometheus that say that there is no value: NaN, no "
            "recorded value, stale. No event is made of them.",
        )
        self.spool_bytes = declare.gauge(
            "edge_spool_bytes",
            "Acknowledged events on the edge's disk; above 0 the broker is or was away.",
            ("topic",),
        )
        self.rate_checks = declare.counter(
            "edge_rate_checks_total",
            "Requests held against a limit: shared, by all edges in Redis; local, by this edge alone.",
            ("by",),
        )
        self.over_quota = declare.counter(
            "edge_over_quota_total",
            "Requests refused because a quota of their tenant is used up, by quota.",
            ("quota",),
        )
        self.interruptions = declare.counter(
            "edge_interruptions_total",
            "Times a topic's events had to take the way through the spool.",
            ("topic", "code"),
        )


class ConsoleMetrics:
    def __init__(self, declare: Declare) -> None:
        self.requests = declare.counter(
            "console_requests_total", "Requests by route and status.", ("route", "status")
        )
        self.seconds = declare.histogram(
            "console_request_seconds", "Time to an answer.", REQUEST_BUCKETS_S, ("route",)
        )
        self.sign_ins = declare.counter(
            "console_sign_ins_total",
            "Sign-ins by way (token, provider) and outcome: signed_in, choice_of_tenants, or why not.",
            ("by", "outcome"),
        )

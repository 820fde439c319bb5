"""Metrics as OpenTelemetry and Prometheus send them (docs/protocols/otlp.md)."""

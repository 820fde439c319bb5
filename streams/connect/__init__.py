"""Clients of the services around a pipeline: Kafka, ClickHouse, Redis, policies, schema registries."""

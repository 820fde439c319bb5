"""The services around a pipeline: Kafka, ClickHouse, Redis, policies, schema registries. Imports core."""

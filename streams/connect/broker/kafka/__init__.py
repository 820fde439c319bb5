"""The broker on Apache Kafka, through aiokafka."""

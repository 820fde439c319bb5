"""The real broker, by aiokafka."""

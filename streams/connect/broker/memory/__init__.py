"""The in-memory broker, held to the contract suite of the Kafka one."""

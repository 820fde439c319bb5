"""How events flow: brokers, the exactly-once runtime, sinks, and the `dia` command."""

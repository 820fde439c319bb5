"""Events over HTTP, validated and stored before the response."""

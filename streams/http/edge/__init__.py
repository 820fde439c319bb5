"""Events over HTTP: checked as the pipeline checks them, and kept before they are answered."""

"""The query API and the console: what the pipeline holds, over HTTP, to whom it belongs."""

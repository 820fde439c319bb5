"""The query API and the console: reads the pipeline over HTTP, by tenant."""

"""The pages of an app, answered by its workers: from a request to what the tables hold."""

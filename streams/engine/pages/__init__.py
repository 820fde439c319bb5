"""The pages of an app, served by its workers."""

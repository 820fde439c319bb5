"""The console as people see it: pages, the files they load, and what keeps them up to date."""

from streams.http.console.pages.rendering import routes

__all__ = ["routes"]

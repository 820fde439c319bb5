"""The console's HTML pages, static files and live streams."""

from streams.http.console.pages.rendering import routes

__all__ = ["routes"]

"""The console's HTML pages, static files and live streams."""

from streams.http.console.pages.rendering import routes, unknown_page

__all__ = ["routes", "unknown_page"]

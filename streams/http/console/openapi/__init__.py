"""The console's API as an OpenAPI document."""

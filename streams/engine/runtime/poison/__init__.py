"""The poison breaker and the quarantine of tenants."""

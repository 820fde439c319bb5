"""Authentication, authorization, quotas and connection bounds of the HTTP surfaces."""

"""Scheduled jobs, run by one elected process (S1 to S6 in docs/protocols/scheduled_jobs.md)."""

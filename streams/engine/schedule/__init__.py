"""Scheduled jobs, run by one elected process (docs/protocols/scheduled_jobs.md).

S1  the owner of the one partition of `dia.schedule` leads
S2  its producer fences a former leader
S3  it reads the last run of each job
S4  it commits that a due run begins, then begins it
S5  the work returns what it found
S6  the leader commits the end and the result
"""

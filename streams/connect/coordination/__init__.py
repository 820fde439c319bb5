"""One at a time, among all processes: locks with a lease, and a leader for scheduled jobs.

    L1  take the name in Redis for ``ttl_s``, if nobody has it (redis-py's own lock)
    L2  draw a fence: a number above every one drawn before, also before a restart of Redis
    L3  confirm that the name is still ours: so whoever has it later draws a higher fence
    L4  renew every third of ``ttl_s``; a lease counts from before its renewal was asked for
    L5  release it if it is still ours; else it ends by itself

A holder that sleeps through its lease (a paused process, a long collection) may wake up believing
in it, and no lock can prevent that. So it looks at `Lease.held` before each step; and what it
changes takes its fence along wherever the target can compare: a lower one is refused.
"""

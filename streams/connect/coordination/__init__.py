"""Mutual exclusion between processes: locks with a lease, and the leader of scheduled jobs.

L1  acquire the name in Redis for ``ttl_s`` (redis-py's lock)
L2  draw a fence: a number above every earlier one, also across a restart of Redis
L3  confirm the lock, so that every later owner has a higher fence
L4  renew every third of ``ttl_s``; the lease counts from the start of its renewal
L5  release it; without a release it expires

A holder that pauses beyond its lease may continue afterwards; no lock prevents that. So it checks
`Lease.held` before each step, and targets that can compare fences refuse a lower one."""

"""May this be simulated? Policies come from a service, or from a file where there is none.

    check ─► cache (L1, L2) ─► service: breaker, then timeout, then retries of 1, 2 and 4 s

A policy is cached whole and questions are answered from it here, so a thousand requests under one
policy ask the service once. That there is no such policy is cached too, for a shorter time. A change
is announced by `streams.connect.policy.change`, which every process hears; the cache's own protocol keeps an
outage from hiding it.

A service that is away makes nobody's request bad: `PolicyServiceUnavailable` asks whoever checks to
wait. Only a policy the service fails on while it answers for others exhausts its retries, and is
the fault of what asked for it.
"""

"""Is the pipeline well? One rule, judged from what was observed, for every surface that says so.

`observe` (observing.py) asks the broker for every declared agent: the log's start, its last stable
offset, the group's committed offset, members and assignment. It adds what workers report.
`judge` (rule.py) is a pure function of that `Observation`. `dia status`, `dia doctor`, `dia audit`,
the console's overview and the metrics of `HealthMonitor` (monitor.py) show its `Health`.

| verdict | means |
|---|---|
| healthy | every declared partition was asked about, and is read or has nothing to read |
| warning | works, with less than it should have: a rebalance, no member while nothing waits; or records wait for a worker that is not known here, and there is no history |
| unknown | a part could not be asked; its lag is None, never 0 |
| red | records wait that no member reads, a partition is stopped, or a topic is gone |

The verdict is the worst severity among the findings. A green verdict needs proof: an answer that
is missing makes it unknown.

A new kind of finding is a field of `Observation` and a function in rule.RULES.
"""

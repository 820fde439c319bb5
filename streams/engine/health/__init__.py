"""The health of the pipeline (docs/protocols/health.md).

`observe` (observing.py) asks the broker about every declared agent, and adds the workers' reports.
`judge` (rule.py) is a pure function of that `Observation`; commands, pages and metrics show its
`Health`. A new kind of finding is a field of `Observation` and a function in rule.RULES.
"""

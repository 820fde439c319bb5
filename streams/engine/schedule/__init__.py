"""Jobs that one process among all runs, by the clock: a leader elected over Kafka, and a fence.

    S1  every worker process joins the group `dia-leader` on the one partition of `dia.schedule`;
        the process that is assigned it leads, the others stand by
    S2  the leader starts the producer `dia-leader`: a former leader is fenced, its open
        transaction aborted
    S3  it reads `dia.schedule`: of each job, the number of its last run and when that began
    S4  a job is due its interval after its last run began, at most a minute after where that never
        ended, and one interval after a leader first found it. The leader commits that run n + 1 begins;
        only then does it begin
    S5  the work: it reads whatever it likes, and returns what it found
    S6  the leader commits that the run ended, and with what; only then is the result shown

An entry becomes true in a transaction of the producer of S2, so a leader that slept through
an election can neither begin a run nor end one. Law: the runs of a job are numbered
without a gap, each begins once and ends at most once, and none ends after a later one began
(tests/properties/test_leader_laws.py, where zombies act and a leader without a fence is caught).
Work that changes something elsewhere must take its number along and have a lower one refused there.

Faust has an election too, which this took its idea from, but nothing of it can be fenced. When a
leader dies, its partition is given away after `SESSION_S`; a run it had begun is run again.
"""

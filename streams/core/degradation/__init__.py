"""How much of its work a process can do now: levels 0 to 3, from what it measures itself.

    level        what is measured                                   what follows
    0 healthy
    1 degraded   a shard: three calls and 5 % of all within 30 s    that shard gets no early rows of
                 took longer than DIA_DEGRADED_LATENCY_S, three     live windows: they wait in the
                 and DIA_DEGRADED_ERROR_SHARE of them failed, or    state, closed windows go on;
                 none was answered for 5 s; the state folder has    a warning in the log
                 less than twice the room of level 3
    2 partial    a shard answered nothing for 15 s                  the console begins nothing new
                                                                    and reads what is kept
                 Redis is away                                      sources are asked instead
    3 minimal    Kafka answered nothing for 15 s; the state folder  partitions take no records; an
                 cannot be written, or has less room than           edge that could keep nothing
                 DIA_STATE_FREE_MIN_BYTES                           says so; people are called

The level of a process is that of its worst *signal*; each action looks at the signals it is about,
so a shard that is away delays its own rows only, and Redis delays none.

Signals rise at once and fall slowly (`streams.core.degradation.fading`). A wrong reading costs freshness
or patience, never a record: no action drops, skips or reorders anything, and what waits, waits in
Kafka or in committed state. Nothing of a level is kept: after a kill -9 the next process measures
for itself. That Kafka is away pauses no partition, though: there is nothing to take, and the first
fetch that is answered is how its return is noticed, whatever else is wrong with the measurement.
"""

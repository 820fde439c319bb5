"""Degradation levels 0 to 3 of a process, from its own measurements.

    level        measurement                                        effect
    0 healthy
    1 degraded   a shard: three calls and 5 % of all within 30 s    that shard gets no provisional
                 took longer than DIA_DEGRADED_LATENCY_S, three     rows of open windows; closed
                 and DIA_DEGRADED_ERROR_SHARE of them failed, or    windows go on; a warning in
                 none was answered for 5 s; the state folder has    the log
                 less than twice the room of level 3
    2 partial    a shard answered nothing for 15 s                  the console starts no queries
                                                                    and serves its cache
                 Redis is away                                      sources are queried instead
    3 minimal    Kafka answered nothing for 15 s; the state folder  partitions take no records; an
                 cannot be written, or has less room than           edge without storage refuses
                 DIA_STATE_FREE_MIN_BYTES                           events; an alert fires

A process has the level of its worst *signal*. Each action reads the signals of its own dependency:
an unavailable shard delays its own rows only.

Levels rise at once and fall slowly (`streams.core.degradation.fading`). No action drops, skips or
reorders records; delayed work stays in Kafka or in committed state. No level is stored: after a
kill -9 the next process measures again. An unavailable Kafka pauses no partition, because the first
answered fetch is how its return is detected.
"""

"""Two-layer caches: L1 in the process, L2 in Redis; no stale value after an invalidation.

A cached name has two keys in Redis: its *floor*, the lowest valid version, and its *entry*, a value
with its version. An entry is valid only while its version equals the floor. Without a floor
(evicted, or Redis restarted empty) it is invalid.

Reading (`Cache.get`):

K1  L1, if this process is subscribed to invalidations (or there is no Redis)
K2  L2: entry and floor in one read
K3  one loader in this process (single flight), one among all processes (a claim in Redis)
K4  the value is stored with the floor read *before* the load

Changing (`Cache.put`, `invalidate`): one script raises the floor, replaces or deletes the entry,
and publishes the name. A load that began before stores its entry below the floor, where it is
invalid. A version at or below the floor changes nothing: a change may be repeated, late or out of
order.

Invalidations (`Invalidations`): Redis does not repeat published messages. After each (re)connection
L1 is cleared before it is used again; without a connection, L1 answers only if Redis does not. So a
   process reads a missed change at its next read, or, if that read joins a load in progress, as of
   the start of that load. With Redis unavailable, L1 entries end after their TTL.

Seals: an entry of a kind that `authorises` is valid only with the seal of this cluster
(streams/connect/cache/sealed.py). Without a secret the source is read, and Redis carries
invalidations only.

An unavailable Redis is never an error for a reader: a breaker opens and the source answers. A
writer gets `CacheUnavailable` and has to repeat the change.
"""

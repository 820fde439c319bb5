"""Two-layer caches: L1 in the process, L2 in Redis (docs/protocols/caches.md).

A cached name has two keys in Redis: its *floor*, the lowest valid version, and its *entry*, a value
with its version, valid only while that equals the floor.

Reading (`Cache.get`):

 K1  L1, if this process is subscribed to invalidations (or there is no Redis)
 K2  L2: entry and floor in one read
 K3  one loader in this process (single flight), one among all processes (a claim in Redis)
 K4  the value is stored with the floor read *before* the load

Changing (`Cache.put`, `invalidate`): one script raises the floor, replaces or deletes the entry,
and publishes the name. A version at or below the floor changes nothing, so a change may be
repeated. Redis does not repeat messages, so `Invalidations` clears L1 after each (re)connection. A
read that joins a load in progress may miss a change made since its start.

Without Redis the source answers a reader; a writer gets `CacheUnavailable` and repeats the change.
Entries of a kind that `authorises` need a seal (streams/connect/cache/sealed.py)."""

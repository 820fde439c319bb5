"""Caches in two layers: L1 in the process, L2 in Redis, and no stale value once a change is told.

A cached name has two keys in Redis: its *floor*, the version below which nothing of it is true,
and its *entry*, a value and the version it was true at. An entry counts only while its version
equals the floor; a floor that is missing (evicted, or Redis restarted empty) makes it worthless.

Reading (`Cache.get`):

    K1  L1, if this process hears invalidations at the moment (or there is no Redis at all)
    K2  L2: entry and floor in one read
    K3  one loader in this process (single flight), one among all processes (a claim in Redis)
    K4  the value is kept with the floor seen *before* its source was asked

Changing (`Cache.put`, `invalidate`): one script raises the floor, replaces or deletes the entry,
and publishes the name. A load that began before it keeps, at K4, an entry below the floor: nobody
believes it. A version that is not above the floor changes nothing, so a change may be repeated,
late and out of order.

Hearing (`Invalidations`): what is published is not repeated, so whoever was not connected may have
missed something. After each (re)connection, and before L1 is trusted again, L1 is emptied; while
not connected, L1 answers only if Redis does not. So a change that was told while a process could
not hear is seen by it at its next read (or, if that read joins a load under way, as of the
beginning of that load); and with Redis away altogether, L1 ends after its TTL.

Believing: an entry whose kind `authorises` something counts only where it bears the seal of this
cluster (streams/connect/cache/sealed.py); without a secret its source is asked, and notices alone are heard.

Redis away is never an error of a reader: the source answers instead, behind a breaker. It is one
of whoever changes something, for whom `CacheUnavailable` means: tell it again later.
"""

"""The problems that reading and writing operations of the console answer with, by status."""

from __future__ import annotations

READ = ("400", "401", "403", "404", "409", "429", "503")
WRITE = (*READ, "413", "415")

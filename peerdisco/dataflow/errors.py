"""What can be wrong with records; whose fault it is shows in the type. Next: `format.py`."""

from __future__ import annotations


class CorruptRecords(ValueError):
    """A record stream is damaged, cut short, or no record stream at all.

    Nothing that was read before the damage is wrong: every batch carries its own checksum.
    """


class UnsafeRecord(ValueError):
    """A record needs a class that may run foreign code when it is rebuilt.

    Raised only when records are read without trust; the file itself is sound.
    """


class BadRecord(TypeError):
    """A job's function produced something that is not a record. The user's to correct."""

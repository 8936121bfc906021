"""Named random streams: one per purpose, so that a new draw in one shifts no other.

A stream is seeded by its name (`Random(str)` hashes it with SHA-512, whatever PYTHONHASHSEED
is). The class of its own lets `ambient` tell our generators from those that libraries made.
"""

from __future__ import annotations

import random


class Stream(random.Random):
    """A random generator that belongs to the world and is never reseeded behind its back."""


def stream(*names: object) -> Stream:
    """The stream called `a/b/c`; equal names give equal draws in every process."""
    return Stream("/".join(str(name) for name in names))

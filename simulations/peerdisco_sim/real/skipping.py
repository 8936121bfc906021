"""What is said of a fault that is not inflicted: never nothing."""

from __future__ import annotations


class Skipped(Exception):
    """This fault cannot be inflicted here or now; the message says why."""


class NotNow(Skipped):
    """Nobody is what the target says at the moment; a little later somebody may be."""

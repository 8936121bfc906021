"""What can go wrong with a simulation itself, as opposed to what it simulates."""

from __future__ import annotations


class EscapedSimulation(RuntimeError):
    """Code inside the world reached for something that the world does not simulate.

    The attempt is also recorded as a failure of the world, since the code that made it may
    swallow the exception. Nothing outside was touched.
    """


class Deadlock(RuntimeError):
    """Something was awaited, but no event is left that could ever complete it."""


class SimulationFailed(AssertionError):
    """At least one failure was recorded; the message is the report, with the replay line."""

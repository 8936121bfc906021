"""The job pointers: one register per submission, which every voter and client can find.

A pointer is created once, if absent, so that two nodes that receive the same submission agree on
one group. It is moved before the group's old configuration is left, and ends as DONE, so that a
voter that wakes up late reads here that its group is history.
"""

from __future__ import annotations

from collections.abc import Callable

from peerdisco.coordination.messages import JobPointer, PointerState
from peerdisco.coordination.ports import Registers
from peerdisco.messages import BadMessage, decode, encode

PREFIX = "job/"
"""Of register keys and of group names."""
CREATED = 1
"""The version of a register that was created and never changed."""
CHANGES_MAX = 10
"""Lost races before a change gives up; there is one writer at a time, so a second is rare."""


class JobPointers:
    """Reads and changes job pointers. Failures are those of the registers, and OSError."""

    def __init__(self, registers: Registers) -> None:
        self._registers = registers

    async def create(self, job: str, pointer: JobPointer) -> JobPointer:
        """Create a pointer if the job has none; returns the one that stands."""
        return _decoded(await self._registers.create(PREFIX + job, encode(pointer)))

    async def read(self, job: str) -> JobPointer | None:
        """The pointer of a job, or None."""
        register = await self._registers.read(PREFIX + job)
        return None if register is None else _decoded(register.value)

    async def founders(self, job: str) -> tuple[str, ...]:
        """The voters that the group was founded with, while nobody has begun to change them.

        Empty once the pointer was changed. A member that joins late needs to be told who they
        are: the log holds changes only.
        """
        register = await self._registers.read(PREFIX + job)
        if register is None or register.version != CREATED:
            return ()
        return _decoded(register.value).voters

    async def move(self, job: str, voters: tuple[str, ...]) -> bool:
        """Say who the voters are about to be; False when the job is over."""

        def moved(pointer: JobPointer) -> JobPointer | None:
            if pointer.state is not PointerState.ACTIVE:
                return None
            removals = pointer.removals + any(node not in voters for node in pointer.voters)
            return JobPointer(PointerState.ACTIVE, voters, pointer.digest, removals)

        return await self._change(job, moved)

    async def finish(self, job: str, state: PointerState) -> bool:
        """Say that the group is over; False when the job has no pointer or is purged."""

        def finished(pointer: JobPointer) -> JobPointer | None:
            if pointer.state is PointerState.PURGED:
                return None
            return JobPointer(state, pointer.voters, pointer.digest, pointer.removals)

        return await self._change(job, finished)

    async def _change(self, job: str, change: Callable[[JobPointer], JobPointer | None]) -> bool:
        for _ in range(CHANGES_MAX):
            register = await self._registers.read(PREFIX + job)
            if register is None:
                return False
            old = _decoded(register.value)
            new = change(old)
            if new is None:
                return False
            if new == old or await self._registers.compare_and_set(
                PREFIX + job, register.version, encode(new)
            ):
                return True
        raise TimeoutError(f"the pointer of {job!r} changes all the time")


def owner_of(key: str, value: bytes) -> str | None:
    """The job that a register keeps alive as an owner of blobs: one whose pointer is active.

    A pointer that cannot be read keeps its job alive: garbage collection must not guess.
    """
    if not key.startswith(PREFIX):
        return None
    try:
        active = _decoded(value).state is PointerState.ACTIVE
    except OSError:
        active = True
    return key.removeprefix(PREFIX) if active else None


def _decoded(value: bytes) -> JobPointer:
    try:
        return decode(value, JobPointer)
    except BadMessage as error:
        raise OSError(f"a job's register holds no pointer: {error}") from None

"""Buffers of streams are reused and not cleared anew by the kernel."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from peerdisco.host.memory import keep_freed_memory

if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit(3)
parts = [bytes(1 << 20) for _ in range(6)]
del parts
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    parts = [bytes(1 << 18) for _ in range(12)]
    del parts
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
NOT_GLIBC = 3


def faults(habit: str) -> int:
    """Page faults of a process that takes and frees 600 MiB, three at a time."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, habit], capture_output=True, text=True, check=False
    )
    if done.returncode == NOT_GLIBC:
        pytest.skip("another C library")
    assert not done.stderr
    return int(done.stdout)


def test_what_was_freed_is_used_again() -> None:
    kept = faults("keep")
    assert kept < 3000
    assert kept < faults("as it comes")

"""Runs the system's own tools, and says what they said when they fail."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

TOOL_TIMEOUT_S = 30.0


class ToolFailed(OSError):
    """A tool of the system is missing, failed or hung; the message holds its own words."""


def call(*command: str, text: str = "") -> str:
    """Run a command to its end; its standard output. Raises ToolFailed."""
    program = shutil.which(command[0], path=_PATH)
    if program is None:
        raise ToolFailed(f"{command[0]} is not installed")
    try:
        done = subprocess.run(  # noqa: S603 - the system's tools, with arguments of our own
            [program, *command[1:]],
            input=text,
            capture_output=True,
            text=True,
            timeout=TOOL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ToolFailed(f"{' '.join(command)} did not end in {TOOL_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()[:1]
        raise ToolFailed(f"{' '.join(command)}: {words[0] if words else done.returncode}")
    return done.stdout


def attempt(commands: Sequence[Sequence[str]]) -> list[str]:
    """Run all commands, whatever becomes of each; what the failed ones said."""
    failures = []
    for command in commands:
        try:
            call(*command)
        except ToolFailed as failure:
            failures.append(str(failure))
    return failures


_PATH = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin:/usr/local/bin"

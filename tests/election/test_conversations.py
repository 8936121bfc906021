"""Conversations recorded as text: commands, then what was said because of them.

A file in `conversations/` is a list of blocks. The lines up to `----` are commands, the lines after
it what they caused. Run with PEERDISCO_REWRITE=1 to record anew, and review the difference.

`deliver` brings all messages and writes to their end without letting any timer fire; `run SECONDS`
lets time pass. The groups are watched, as in the product: a quiet one has no timer, unless the
cluster is given `timers yes`. A command after `quietly` writes nothing down.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from peerdisco_election.errors import Dropped, NotLeader
from peerdisco_election.messages import Heartbeat
from peerdisco_election.recovery import force
from peerdisco_election.status import Cause
from tests.election import script
from tests.election.world import QUICK, Cluster, Member, nothing

LIMITS = {
    "appends": "inflight_appends_max",
    "window": "inflight_bytes_max",
    "entries": "append_entries_max",
    "bytes": "append_bytes_max",
    "backlog": "uncommitted_bytes_max",
    "piece": "apply_bytes_max",
    "chunk": "snapshot_chunk_bytes",
    "largest": "snapshot_bytes_max",
    "trailing": "trailing_entries",
}
"""What `cluster NAMES` may be given as pairs of a word and a number, beside those in `_begin`."""

FILES = sorted((Path(__file__).parent / "conversations").glob("*.txt"))


class Scribe:
    """Plays commands and writes down what happens."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.lines: list[str] = []

    def perform(self, command: str) -> None:
        words = command.split()
        if words[0] == "quietly":
            kept = [*self.lines]
            self.perform(command.removeprefix("quietly "))
            self.lines[:] = kept
            return
        try:
            self._play(words)
        except (Dropped, NotLeader) as error:
            self.lines.append(f"  refused: {error}")

    def _play(self, words: list[str]) -> None:
        cluster = self.cluster
        match words:
            case ["cluster", names, *options]:
                self._begin(names, dict(zip(options[::2], options[1::2], strict=True)))
            case ["deliver"]:
                cluster.settle()
            case ["run", seconds]:
                cluster.run(float(seconds))
            case ["cut", names]:
                cluster.isolate(*names)
            case ["disks", "stuck"]:
                cluster.disk_delay = None
            case ["heal"]:
                cluster.heal()
            case ["drop", kind]:
                cluster.drop(lambda sender, send: type(send.message).__name__ == kind)
            case ["keep"]:
                cluster.drop(nothing)
            case ["status"]:
                self.lines += [self._status(member) for member in cluster.members.values()]
            case [verb, name, *arguments]:
                self._act(verb, cluster[name], arguments)
            case _:
                pytest.fail(f"no such command: {words}")

    def _begin(self, names: str, options: dict[str, str]) -> None:
        voters = options.pop("voters", None)
        snapshots = int(options.pop("snapshots", 1 << 30))
        timers = options.pop("timers", "no")
        notice = float(options.pop("notice", 0))
        limits: dict[str, Any] = {LIMITS[name]: int(value) for name, value in options.items()}
        self.cluster = Cluster(
            names,
            voters,
            config=dataclasses.replace(QUICK, notice_delay=notice, **limits),
            watched=timers == "no",
            snapshot_entries=snapshots,
        )
        self.cluster.trace = lambda line: self.lines.append(f"  {line}")

    def _act(self, verb: str, member: Member, arguments: list[str]) -> None:
        core, now = member.core, self.cluster.now
        match verb, arguments:
            case "campaign", []:
                member.run(lambda: core.campaign(now))
            case "propose", commands:
                member.run(lambda: core.propose([one.encode() for one in commands], now))
            case "sync", []:
                member.sync()
            case "crash", []:
                member.crash()
            case "boot", []:
                member.boot()
            case "renew", [inviter]:
                member.begin_anew(self.cluster[inviter].core.known_commit)
            case "listed", [leader]:
                term = self.cluster[leader].core.term
                member.step(leader, Heartbeat(term))
            case "suspect", []:
                member.run(lambda: core.suspect(now, Cause.EVIDENCE, soon=True))
            case "unreachable", [peer]:
                member.run(lambda: core.unreachable(peer, now))
            case "silent", [peer]:
                member.run(lambda: core.silent(peer, now))
            case "forget", []:
                member.run(lambda: core.forget_leader(now))
            case "force", []:
                self.cluster.oracle.judging = False
                member.run(lambda: force(core, now))
            case "audible", [peer]:
                member.run(lambda: core.silent(peer, now))
                member.run(lambda: core.audible(peer, now))
            case "change", [voters]:
                member.run(lambda: core.change(voters, now))
            case "change", [voters, "learners", learners]:
                member.run(lambda: core.change(voters, now, learners))
            case "transfer", [to]:
                member.run(lambda: core.transfer(to, now))
            case "read", []:
                self.cluster.read(member)
            case _:
                pytest.fail(f"no such command: {verb} {arguments}")

    def _status(self, member: Member) -> str:
        status = member.core.status()
        timer = "asleep" if member.core.deadline is None else "awake"
        return (
            f"  {status.me} {status.role} of {status.leader or '-'} in {status.term}, "
            f"{script.members(status.configuration)}, log {status.first}-{status.last}, "
            f"commit {status.commit}, {timer}, state {b' '.join(member.applied).decode()}"
        )


def record(text: str) -> str:
    """The file as it would be recorded now."""
    scribe = Scribe()
    blocks = []
    for block in text.strip().split("\n\n"):
        commands = block.split("\n----")[0].splitlines()
        for command in commands:
            if not command.startswith("#"):
                scribe.perform(command)
        blocks.append("\n".join([*commands, "----", *scribe.lines]))
        scribe.lines.clear()
    return "\n\n".join(blocks) + "\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_conversation_goes_as_recorded(path: Path) -> None:
    """Line by line."""
    recorded = path.read_text(encoding="utf-8")
    played = record(recorded)
    if os.environ.get("PEERDISCO_REWRITE"):
        path.write_text(played, encoding="utf-8")
        return
    assert recorded == played

"""Rare branches by name: a swarm that never reaches one is too tame, however green it is.

Checkers count them while they listen, in their `marks`; a campaign of many seeds complains about
those that none of them reached.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

MARKS: Mapping[str, str] = {
    "raft.leader": "a member was elected",
    "raft.truncated": "a follower gave up entries that were never committed",
    "raft.snapshot": "a log was folded into a snapshot",
    "raft.restored": "a member took over a leader's snapshot",
    "raft.joint": "a group changed its members",
    "raft.reopened": "a member came back with what it had on disk",
    "register.outdone": "an acceptor refused a ballot that another one had outdone",
    "register.joint": "an operation needed majorities of old and new homes",
    "tag.conflict": "a conditional write met another version",
    "tag.big": "an append was too big for the head of its tag",
    "blob.file": "a blob was big enough to be a file",
    "blob.stand_in": "a put used a node that is no home",
    "blob.set_aside": "a node found its copy rotten",
    "blob.repaired": "a copy was sent in place of a missing one",
    "member.dead": "somebody was declared dead",
    "member.refuted": "somebody contradicted a suspicion",
    "member.returned": "somebody came back from the dead",
    "job.backup": "a slow attempt got a second copy",
    "job.attempt_lost": "an attempt vanished",
    "job.node_lost": "a node died under a job",
    "job.inputs_lost": "an attempt could not read what another had made",
    "job.taken_over": "another node became the coordinator of a job",
    "job.late": "an attempt that was given up succeeded after all",
    "job.killed": "a job was killed",
    "job.failed": "a job died of its author's mistake",
}
"""Each with what it means."""


def merged(parts: Iterable[object]) -> dict[str, int]:
    """The marks of all checkers and workloads that have any."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(getattr(part, "marks", {}))
    unknown = [name for name in total if name not in MARKS]
    assert not unknown, f"marks without a meaning: {unknown}"
    return dict(total)

"""What the cluster can survive, said in one line. A pure function of the member list.

A change is acknowledged by a majority of the homes of its key, and by at least two nodes where
there are two. In the worst case all lost nodes are homes of the same key, so with R homes the
cluster can lose (R - 1) // 2 of them and go on.
"""

from __future__ import annotations

from collections.abc import Sequence

from peerdisco_webui.messages import ClusterFacts, Level, MemberState, MemberView, Verdict

NODES_FOR_SAFETY = 3


def judge(facts: ClusterFacts, members: Sequence[MemberView]) -> Verdict:
    """The verdict on a cluster, as the answering node sees it."""
    alive = [member for member in members if member.state is MemberState.ALIVE]
    homes = [member for member in members if member.storage] or alive
    silent = [member for member in homes if member.state in (MemberState.DEAD, MemberState.SUSPECT)]
    margin = (min(facts.replicas, len(homes)) - 1) // 2 - len(silent)
    count = nodes(len(alive)) + " alive"
    if facts.stuck:
        return _stuck(count, facts.stuck)
    if silent:
        return _wounded(count, silent, margin)
    if len(homes) < NODES_FOR_SAFETY:
        return _small(count, len(homes))
    return Verdict(
        level=Level.GOOD,
        headline=f"{count}; can lose {margin} of them without losing anything",
        detail=f"Every file has {min(facts.replicas, len(homes))} copies, "
        "and every job goes on when its coordinator is lost.",
        can_lose=margin,
    )


def _stuck(count: str, groups: Sequence[str]) -> Verdict:
    names = ", ".join(groups[:3]) + (f" and {len(groups) - 3} more" if len(groups) > 3 else "")
    return Verdict(
        level=Level.DANGER,
        headline=f"{count}; these have lost the majority of their nodes and stand still: {names}",
        detail="Bring the silent nodes back, and they go on by themselves. Only if that is "
        "impossible for good: `peerdisco raft show GROUP`, then `peerdisco raft recover`.",
    )


def _wounded(count: str, silent: Sequence[MemberView], margin: int) -> Verdict:
    names = ", ".join(member.name or member.id[:8] for member in silent[:3])
    if len(silent) > 3:
        names += f" and {len(silent) - 3} more"
    headline = f"{count}, {len(silent)} not answering ({names})"
    if margin > 0:
        return Verdict(
            level=Level.WARNING,
            headline=f"{headline}; can lose {margin} more without losing anything",
            can_lose=margin,
        )
    if margin == 0:
        return Verdict(
            level=Level.WARNING,
            headline=f"{headline}; everything works, but no further node may be lost",
            detail="Until it is back or replaced, losing another node stops some jobs and tags.",
        )
    return Verdict(
        level=Level.DANGER,
        headline=f"{headline}; some jobs and tags are out of reach",
        detail="Acknowledged data is on the silent nodes' disks. Bring one of them back.",
    )


def _small(count: str, homes: int) -> Verdict:
    if homes <= 1:
        detail = "Losing this machine or its disk loses every file and every job."
    else:
        detail = (
            "Files have two copies, so no disk failure loses them; but when either node stops, "
            "jobs and changes of tags wait until it is back."
        )
    missing = NODES_FOR_SAFETY - max(homes, 1)
    return Verdict(
        level=Level.WARNING,
        headline=f"{count}; cannot survive the loss of one: "
        f"add {nodes(missing)} to be safe from any single failure",
        detail=detail,
    )


def nodes(count: int) -> str:
    """`1 node`, `2 nodes`."""
    return f"{count} node" if count == 1 else f"{count} nodes"

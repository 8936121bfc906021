"""Recovery by force: one member of a group that lost its majority for good becomes the whole group.

Raft cannot do this, and rightly so: what only the lost members held is gone, and a lost majority
that comes back after all would go on as if nothing had happened. Hence it happens only when a
person asks for it (`Groups.recover`), it is recorded in the store, and it begins a new *era* of the
group. Members of different eras do not listen to each other: those that were given up learn of the
era when they speak to the kept one, resign, and may join again as new members.

Here is what can be said before, what is kept and what may be lost, and what it does to a core.
"""

from __future__ import annotations

from collections.abc import Callable

from peerdisco_election import quorum
from peerdisco_election.core import Core
from peerdisco_election.effects import Effect
from peerdisco_election.errors import Dropped
from peerdisco_election.membership import configuration, configuration_entry
from peerdisco_election.messages import Recovery


def plan(core: Core, era: int) -> Recovery:
    """What a recovery of this member would keep. Raises Dropped when it would be wrong."""
    if core.leader is not None:
        raise Dropped(f"the group has a leader, {core.leader}")
    if not core.is_voter:
        raise Dropped("this node has no vote in the group: its log may lack anything")
    if core.is_alone:
        raise Dropped("this node is the whole group already")
    lost = tuple(one for one in quorum.everyone(core.configuration) if one != core.me)
    return Recovery(era + 1, core.log.last, core.log.last_term, core.log.committed, lost)


def describe(recovery: Recovery, name_of: Callable[[str], str] = str) -> str:
    """What is kept and what may be lost, for people; `name_of` names members."""
    doubtful = recovery.index - recovery.committed
    kept = f"kept is everything up to entry {recovery.index} of term {recovery.term}"
    if doubtful:
        one = doubtful == 1
        entries = "1 entry that was" if one else f"{doubtful} entries that were"
        kept += f", including {entries} never known to be committed"
    lost = ", ".join(map(name_of, recovery.lost))
    return f"{kept}; lost is whatever only {lost} had after it"


def force(core: Core, now: float) -> list[Effect]:
    """Be the whole group from now on, with the log as it is.

    Entries that may or may not have been committed are, from now on.
    """
    core.become_follower(core.term + 1, None, now)
    alone = configuration([core.me])
    core.write([configuration_entry(core.log.last + 1, core.term, alone)])
    core.commit_to(core.log.last, now)
    return core.finish(now)


def resign(core: Core, now: float) -> list[Effect]:
    """Have no part in the group any more: neither vote, nor stand, nor lead."""
    core.become_follower(core.term, None, now)
    core.adopt(configuration([]), now)
    return core.finish(now)

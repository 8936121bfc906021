"""Replays conversations recorded with another implementation of Raft: the core plays one node.

The vocabulary is that of the best-known implementation's traces, which others use too:

    node 1 of 1 2 3                     who is played, and the voters
    > campaign                          what happens to it: also `propose WORD...`, `forget`
    > 2->1 MsgVoteResp Term:1 Log:0/0   a message that it receives
    < 1->2 MsgApp Term:1 Log:0/0 Entries:[1/1 EntryNormal ""]
                                        what it says then, in order; `Log` is term/index

Writes are durable at once, so that what waits for them follows. Fields that only one of the two
implementations has are left out: who compares them compares nothing.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable, Iterator

from peerdisco_election.config import RaftConfig
from peerdisco_election.core import Core
from peerdisco_election.effects import Effect, Persist, Send
from peerdisco_election.log import Recovered
from peerdisco_election.membership import configuration
from peerdisco_election.messages import (
    Append,
    AppendReply,
    Entry,
    EntryKind,
    GroupMessage,
    Heartbeat,
    HeartbeatReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)

# Others ask for votes without asking before, and tell a commit index at once.
THEIR_CONFIG = dataclasses.replace(RaftConfig(), pre_vote=False, notice_delay=0.0)

LINE = re.compile(
    r"(?P<sender>\w+)->(?P<to>\w+) (?P<kind>Msg\w+) Term:(?P<term>\d+) Log:(?P<log>\d+/\d+)"
    r"(?: Commit:(?P<commit>\d+))?(?P<rejected> Rejected)?(?: \(Hint: (?P<hint>\d+)/(?P<at>\d+)\))?"
    r"(?: Entries:\[(?P<entries>.*)\])?"
)
ENTRY = re.compile(r'(\d+)/(\d+) EntryNormal "([^"]*)"')


def read(line: str) -> tuple[str, GroupMessage]:
    """Who sends a line's message, and the message in our words."""
    found = LINE.fullmatch(line)
    assert found is not None, f"not understood: {line}"
    term, commit = int(found["term"]), int(found["commit"] or 0)
    log_term, index = map(int, found["log"].split("/"))
    rejected = found["rejected"] is not None
    make: dict[str, Callable[[], GroupMessage]] = {
        "MsgVote": lambda: VoteRequest(term, index, log_term),
        "MsgPreVote": lambda: VoteRequest(term, index, log_term, pre=True),
        "MsgVoteResp": lambda: VoteReply(term, not rejected),
        "MsgPreVoteResp": lambda: VoteReply(term, not rejected, pre=True),
        "MsgApp": lambda: Append(term, index, log_term, commit, _entries(found["entries"] or "")),
        "MsgAppResp": lambda: AppendReply(
            term, index, rejected, int(found["at"] or 0), int(found["hint"] or 0)
        ),
        "MsgHeartbeat": lambda: Heartbeat(term, commit),
        "MsgHeartbeatResp": lambda: HeartbeatReply(term),
        "MsgTimeoutNow": lambda: TimeoutNow(term),
    }
    return found["sender"], make[found["kind"]]()


def write(sender: str, to: str, message: GroupMessage) -> str:
    """Our message in their words."""
    match message:
        case VoteRequest():
            kind = "MsgPreVote" if message.pre else "MsgVote"
            rest = f"Log:{message.last_term}/{message.last_index}"
        case VoteReply():
            kind = "MsgPreVoteResp" if message.pre else "MsgVoteResp"
            rest = "Log:0/0" + ("" if message.granted else " Rejected")
        case Append():
            kind = "MsgApp"
            rest = f"Log:{message.previous_term}/{message.previous_index}"
            rest += f" Commit:{message.commit}" if message.commit else ""
            entries = ", ".join(
                f'{one.term}/{one.index} EntryNormal "{one.data.decode()}"'
                for one in message.entries
            )
            rest += f" Entries:[{entries}]" if entries else ""
        case AppendReply():
            kind, rest = "MsgAppResp", f"Log:0/{message.index}"
            if message.rejected:
                rest += f" Rejected (Hint: {message.hint_term}/{message.hint_index})"
        case Heartbeat():
            kind, rest = "MsgHeartbeat", "Log:0/0"
            rest += f" Commit:{message.commit}" if message.commit else ""
        case HeartbeatReply():
            kind, rest = "MsgHeartbeatResp", "Log:0/0"
        case TimeoutNow():
            kind, rest = "MsgTimeoutNow", "Log:0/0"
        case _:
            raise AssertionError(f"no word for {message}")
    return f"{sender}->{to} {kind} Term:{message.term} {rest}"


def _entries(text: str) -> tuple[Entry, ...]:
    return tuple(
        Entry(int(index), int(term), EntryKind.COMMAND if data else EntryKind.EMPTY, data.encode())
        for term, index, data in ENTRY.findall(text)
    )


class Player:
    """The node that the core plays."""

    def __init__(self, me: str, voters: list[str]) -> None:
        self.me = me
        self._now = 0.0
        recovered = Recovered(configuration(voters))
        self.core = Core(me, recovered, THEIR_CONFIG, random.Random(1), 0.0)
        self.core.start(0.0)

    def happens(self, words: str) -> list[str]:
        """What it says when this happens."""
        core, now = self.core, self._now
        match words.split():
            case ["campaign"]:
                effects = core.campaign(now)
            case ["propose", *commands]:
                effects = core.propose([command.encode() for command in commands], now)
            case ["forget"]:
                effects = core.forget_leader(now)
            case _:
                sender, message = read(words)
                effects = core.step(sender, message, now)
        return [*self._said(effects)]

    def _said(self, effects: list[Effect]) -> Iterator[str]:
        """Messages that leave at once, then what the completed writes release."""
        held: list[Send] = []
        written = 0
        for effect in effects:
            if isinstance(effect, Persist):
                written = effect.number
            elif isinstance(effect, Send) and effect.after:
                held.append(effect)
            elif isinstance(effect, Send):
                yield write(self.me, effect.to, effect.message)
        for send in held:
            yield write(self.me, send.to, send.message)
        if written:
            yield from self._said(self.core.persisted(written, self._now))


def replay(text: str) -> str:
    """The recording as this implementation would have made it."""
    player: Player | None = None
    lines: list[str] = []
    for line in text.splitlines():
        match line.split(maxsplit=1):
            case ["node", rest]:
                me, _, *voters = rest.split()
                player = Player(me, voters)
                lines.append(line)
            case [">", words]:
                assert player is not None
                lines += [line, *(f"< {said}" for said in player.happens(words))]
            case ["<", _]:
                continue
            case _:
                lines.append(line)
    return "\n".join(lines) + "\n"

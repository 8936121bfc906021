"""Nodes with the real Raft driver, recorded as text: beats, batches, quiet groups, outcomes.

The format is that of `tests/election/test_conversations.py`; run with PEERDISCO_REWRITE=1 to record
anew, and review the difference. `quietly` writes nothing down, `briefly` what callers are told.
Each line begins with the second in which something happened:

    n1 => n2    a frame on the link, with all that n1 has to say to n2 in one turn
    n1 ~> n2    a datagram
    n1 commits  one commit of the store, with the groups and the number of rows in it
"""

from __future__ import annotations

import os
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from peerdisco_election import (
    RaftConfig,
    RaftError,
    Recovery,
    Session,
    StateMachine,
    plain,
    register,
)
from peerdisco_election.group import Group
from peerdisco_election.messages import Beat, BeatReply, Envelope, Frame, Leading, Pulse, decode
from peerdisco_sim.cluster import Cluster
from peerdisco_sim.node import SimNode
from peerdisco_sim.scenarios.raft_node import Plan, RaftNode
from peerdisco_sim.world import World
from tests.election import script

NAMES = ["n1", "n2", "n3"]
FOUNDERS = {"one": NAMES, "two": ["n2", "n3", "n1"]}
"""The first of each leads at first."""

FILES = sorted((Path(__file__).parent / "conversations").glob("*.txt"))


class Life(RaftNode):
    """A node whose ledgers take commands as they are, but for that of group two."""

    def _machine(self, name: str) -> StateMachine:  # type: ignore[override]  # mostly no sessions
        sessions = super()._machine(name)
        return sessions if name == "two" else self.ledgers[name]


class Disk:
    """A store that tells what is committed."""

    def __init__(self, store: Any, scribe: Scribe, me: str) -> None:
        self._store = store
        self._scribe = scribe
        self._me = me
        self.get, self.scan = store.get, store.scan

    async def commit(self, writes: Sequence[tuple[bytes, bytes | None]]) -> None:
        rows: dict[str, int] = {}
        for key, _ in writes:
            group = key.split(b"/")[1].decode()
            rows[group] = rows.get(group, 0) + 1
        await self._store.commit(writes)
        said = ", ".join(f"{group}: {count} rows" for group, count in rows.items())
        self._scribe.say(f"{self._me} commits {said}")


class Scribe:
    """Plays commands and writes down what happens."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lines: list[str] = []
        self.lives: dict[str, Life] = {}
        self.plans = {name: Plan(founders, founders) for name, founders in FOUNDERS.items()}
        self.beats_lost = False
        self.session: Session | None = None
        self.wrapped = b""
        self.cluster = Cluster(world, self._serve)
        self._addresses: dict[str, str] = {}

    def say(self, words: str) -> None:
        self.lines.append(f"  {self.world.now:5.2f} {words}")

    async def _serve(self, machine: SimNode) -> None:
        life = Life(machine, self._addresses, RaftConfig(), self.plans)
        self.lives[machine.name] = life
        self._listen(life)
        await life.run()

    def _listen(self, life: Life) -> None:
        me, groups, datagrams = life.me, life.groups, life._datagrams
        send, throw, admit = life.send, datagrams.send, groups._admit

        def sent(peer: str, frame: bytes) -> bool:
            parts = map(self._part, decode(frame, Frame).parts)
            self.say(f"{me} => {peer}: {' | '.join(parts)}")
            return send(peer, frame)

        def thrown(address: tuple[str, int], channel: int, payload: bytes) -> bool:
            peer = next(name for name, ip in self._addresses.items() if ip == address[0])
            lost = " (lost)" if self.beats_lost else ""
            self.say(f"{me} ~> {peer}: {self._part(decode(payload, Pulse).part)}{lost}")
            return self.beats_lost or throw(address, channel, payload)

        def admitted(*arguments: Any) -> Group:
            group = admit(*arguments)
            group.subscribe(
                lambda seen: self.say(
                    f"{me} sees leader {seen.leader or '-'} of {seen.group} in term {seen.term}"
                )
            )
            return group

        for owner, name, listener in (
            (life, "send", sent),
            (datagrams, "send", thrown),
            (groups, "_admit", admitted),
            (groups._writer, "_store", Disk(groups._writer._store, self, me)),
        ):
            setattr(owner, name, listener)

    @staticmethod
    def _part(part: Envelope | Beat | BeatReply | Leading) -> str:
        match part:
            case Envelope():
                return f"{part.group}: {script.message(part.message)}"
            case Beat():
                return f"Beat {part.number}, start {part.generation}"
            case BeatReply():
                return f"BeatReply {part.number} {'agreed' if part.agreed else 'disagrees'}"
            case Leading():
                led = ", ".join(f"{name} in term {term}" for name, term in part.groups)
                return f"Leading {led or 'nothing'}"

    @staticmethod
    def _is_outcome(line: str) -> bool:
        """Whether callers, or subscribers, were told of it."""
        return not any(mark in line for mark in (" => ", " ~> ", " commits "))

    # Commands.

    def perform(self, command: str) -> None:
        words = command.split()
        if words[0] == "quietly":
            kept = [*self.lines]
            self.perform(command.removeprefix("quietly "))
            self.lines[:] = kept
            return
        if words[0] == "briefly":
            kept = [*self.lines]
            self.lines.clear()
            self.perform(command.removeprefix("briefly "))
            self.lines[:] = [*kept, *filter(self._is_outcome, self.lines)]
            return
        match words:
            case ["start", *names]:
                for name in names:
                    self._addresses[name] = self.cluster.start(name).ip
            case ["run", seconds]:
                self.world.run_for(float(seconds))
            case ["kill", name]:
                self.cluster.kill(name)
            case ["revive", name]:
                self.cluster.restart(name)
            case ["cut", name]:
                self.cluster.isolate(name)
            case ["heal"]:
                self.cluster.heal()
            case ["lose", "beats"]:
                self.beats_lost = True
            case ["status"]:
                self._status()
            case [verb, name, group, *arguments]:
                self._act(verb, name, self._member(name, group), arguments)
            case _:
                pytest.fail(f"no such command: {command}")

    def _act(self, verb: str, name: str, group: Group, arguments: list[str]) -> None:
        match verb, arguments:
            case "propose", [seconds, *commands]:
                for command in commands:
                    data = plain(command.encode()) if group.name == "two" else command.encode()
                    doing = group.propose(data, timeout=float(seconds))
                    self._await(name, f"{command!r} in {group.name}", doing)
            case "register", []:
                self._await(name, "a session", self._register(group))
            case "once", [command]:
                assert self.session is not None
                self.wrapped = self.session.wrap(command.encode()).command
                doing = group.propose(self.wrapped, timeout=9.0)
                self._await(name, f"{command!r}, once", doing)
            case "again", []:
                self._await(name, "the same", group.propose(self.wrapped, timeout=9.0))
            case "read", []:
                self._await(name, f"a read of {group.name}", group.read_index(timeout=9.0))
            case "change", voters:
                self._await(name, f"new voters of {group.name}", self._change(group, voters))
            case "recover", []:
                recovering = self.lives[name].groups.recover(group.name, timeout=9.0)
                self._await(name, f"recovering {group.name}", recovering)
            case _:
                pytest.fail(f"no such command: {verb} {arguments}")

    async def _register(self, group: Group) -> object:
        number = await group.propose(register(), timeout=9.0)
        self.session = Session(number)
        return number

    async def _change(self, group: Group, voters: list[str]) -> None:
        await group.change_voters(voters, timeout=9.0)

    def _await(self, name: str, what: str, doing: Coroutine[Any, Any, object]) -> None:
        async def outcome() -> None:
            try:
                result = await doing
            except RaftError as error:
                self.say(f"{name}: {what}: {type(error).__name__}: {error}")
            else:
                known = "" if result is None or isinstance(result, Recovery) else f" as {result}"
                self.say(f"{name}: {what}: done{known}")

        self.cluster.node(name).spawn(outcome())

    def _member(self, name: str, group: str) -> Group:
        member = self.lives[name].groups.get(group)
        assert member is not None
        return member

    def _status(self) -> None:
        for name in self.cluster.running:
            for group in FOUNDERS:
                member = self._member(name, group)
                core = member.status().core
                timer = "asleep" if member.core.deadline is None else "awake"
                said = b" ".join(self.lives[name].ledgers[group].entries).decode()
                self.lines.append(
                    f"  {name} {group}: {core.role} of {core.leader or '-'} in {core.term}, "
                    f"commit {core.commit} of {core.last}, {timer}, ledger {said or '-'}"
                )


@contextmanager
def scribe() -> Iterator[Scribe]:
    with World(1) as world:
        yield Scribe(world)
        assert not world.failures, world.failures[0].line()


def record(text: str) -> str:
    """The file as it would be recorded now."""
    blocks = []
    with scribe() as playing:
        for block in text.strip().split("\n\n"):
            commands = block.split("\n----")[0].splitlines()
            for command in commands:
                if not command.startswith("#"):
                    playing.perform(command)
            blocks.append("\n".join([*commands, "----", *playing.lines]))
            playing.lines.clear()
    return "\n\n".join(blocks) + "\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_conversation_of_nodes_goes_as_recorded(path: Path) -> None:
    """Line by line, in virtual time."""
    recorded = path.read_text(encoding="utf-8")
    played = record(recorded)
    if os.environ.get("PEERDISCO_REWRITE"):
        path.write_text(played, encoding="utf-8")
        return
    assert recorded == played

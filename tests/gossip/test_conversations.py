"""Conversations recorded as text: commands, then what was said because of them.

A file in `conversations/` is a list of blocks. The lines up to `----` are commands, the lines after
it what they caused. Run with PEERDISCO_REWRITE=1 to record anew, and review the difference.

Commands: `node NAME...`, `restart NAME`, `join NAME SEED`, `run SECONDS`, `crash NAME`,
`cut NAME NAME`, `mute NAME NAME` (one way), `heal`, `stall NAME SECONDS`, `evidence NAME ABOUT`,
`leave NAME`, `stop NAME SECONDS`, `set NAME KEY VALUE`; `quietly run SECONDS` writes nothing down.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peerdisco_gossip import messages as m
from peerdisco_gossip.config import GossipConfig
from peerdisco_gossip.core import Received

if TYPE_CHECKING:
    from tests.gossip.conftest import MakeWorld, Node, World

FILES = sorted((Path(__file__).parent / "conversations").glob("*.txt"))


class Scribe:
    """Writes down what happens in a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._lines: list[tuple[float, str]] = []
        self._events_told = 0
        self._is_quiet = False
        world.on_packet = self._write_packet

    def perform(self, command: str) -> None:
        world = self._world
        match command.split():
            case ["node", *names]:
                for name in names:
                    world.add(name)
            case ["restart", name]:
                world.add(name, world.nodes[name].generation + 1)
            case ["join", name, seed]:
                world.join(name, seed)
            case ["run", seconds]:
                world.run(float(seconds))
            case ["quietly", "run", seconds]:
                self._is_quiet = True
                world.run(float(seconds))
                self._is_quiet = False
            case ["crash", name]:
                world.crash(name)
            case ["cut", one, other]:
                world.cut([one], [other])
            case ["mute", source, target]:
                world.cut_one_way(source, target)
            case ["heal"]:
                world.heal()
            case ["stall", name, seconds]:
                world.stall(name, float(seconds))
            case ["evidence", name, about]:
                world.evidence(name, about)
            case ["leave", name]:
                world.depart(name)
            case ["stop", name, seconds]:
                world.depart(name, float(seconds))
            case ["set", name, key, value]:
                world.set_metadata(name, key, value.encode())
            case _:
                pytest.fail(f"no such command: {command}")
        self._write_events()

    def drain(self) -> list[str]:
        lines, self._lines = self._lines, []
        return [line for _, line in sorted(lines, key=lambda timed: timed[0])]

    def _write_events(self) -> None:
        for event in self._world.events[self._events_told :]:
            if not self._is_quiet:
                before = event.previous.name if event.previous is not None else "unknown"
                text = f"** {event.node}: {event.about} {before} -> {event.state.name}"
                self._lines.append((event.time, f"{event.time:7.3f} {text}"))
        self._events_told = len(self._world.events)

    def _write_packet(self, source: Node, target: Node, received: Received) -> None:
        if self._is_quiet:
            return
        said = [self._body(received.body), *(f"[{self._update(u)}]" for u in received.updates)]
        now = self._world.now
        self._lines.append((now, f"{now:7.3f} {source.name} -> {target.name}: {' '.join(said)}"))

    def _body(self, body: m.Body) -> str:
        match body:
            case m.Ping():
                return f"ping {self._name(body.target)}"
            case m.Ack():
                return f"ack {self._name(body.subject)}"
            case m.PingRequest():
                return f"please ping {self._name(body.target)} within {body.timeout_s:.3f}"
            case m.Nack():
                return "nack"
            case m.Gossip():
                return "gossip"

    def _update(self, update: m.Update) -> str:
        name = self._name(update.id)
        match update:
            case m.Alive():
                return f"{name} alive {update.generation}.{update.incarnation}"
            case m.Suspect():
                accuser = self._name(update.by)
                return f"{name} suspect {update.generation}.{update.incarnation} by {accuser}"
            case m.Dead():
                back = f", back in {update.back_in_s:.0f}" if update.back_in_s else ""
                accuser = self._name(update.by)
                return f"{name} dead {update.generation}.{update.incarnation} by {accuser}{back}"
            case m.Left():
                return f"{name} left {update.generation}.{update.incarnation}"
            case m.Metadata():
                return f"{name} has {update.key}={update.value.decode()} v{update.version}"

    def _name(self, node_id: str) -> str:
        return self._world.names[node_id]


def replay(text: str, world: World) -> str:
    """The file as it reads when its commands are performed now."""
    scribe = Scribe(world)
    written: list[str] = []
    for block in text.strip().split("\n\n"):
        commands = block.partition("\n----")[0].splitlines()
        for command in commands:
            if not command.startswith("#"):
                scribe.perform(command)
        said = scribe.drain()
        written.append("\n".join([*commands, *(["----", *said] if said else [])]))
    return "\n\n".join(written) + "\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_conversation_goes_as_it_was_recorded(path: Path, make_world: MakeWorld) -> None:
    recorded = path.read_text()
    replayed = replay(recorded, make_world(GossipConfig()))
    if os.environ.get("PEERDISCO_REWRITE") == "1":
        path.write_text(replayed)
        return
    assert recorded == replayed

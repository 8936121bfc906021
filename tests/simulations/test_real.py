"""Disasters on real daemons: the judgement, the drawing, and what the machine itself can do."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from peerdisco_sim.faults import FAULTS
from peerdisco_sim.real.abilities import Abilities, find_abilities
from peerdisco_sim.real.command import real
from peerdisco_sim.real.draw import draw_schedule
from peerdisco_sim.real.histories import History, Observation
from peerdisco_sim.real.inflict import IMPOSSIBLE, KINDS
from peerdisco_sim.real.namespaces import PREFIX, Switch, Wire, run_inside, sweep
from peerdisco_sim.real.power import PowerDisk
from peerdisco_sim.real.shell import ToolFailed, call
from peerdisco_sim.schedule import Fault, Schedule

PORT = 9000


def seen(began: float, ended: float, *values: str, appended: str = "") -> Observation:
    return Observation(began, ended, values, appended)


# -- histories ------------------------------------------------------------------------------------


def test_what_one_growing_list_can_have_shown_is_accepted() -> None:
    history = History(
        [
            seen(0, 1, "a", appended="a"),
            seen(0.5, 2, "a", "b", appended="b"),
            seen(1.5, 1.8, "a"),
            seen(3, 4, "a", "b", "c"),
        ],
        unknown={"c": None, "d": None},
    )
    assert [] == list(history.judge(["a", "b", "c"]))


@pytest.mark.parametrize(
    ("observations", "final", "word"),
    [
        ([seen(0, 1, "a", appended="a")], [], "acknowledged and lost: a"),
        ([seen(0, 1, "a", appended="a")], ["a", "a"], "appended twice"),
        ([seen(0, 1, "a", appended="a")], ["a", "x"], "never appended"),
        ([seen(0, 1, "b", appended="a"), seen(0, 1, "b", appended="b")], ["b", "a"], "being there"),
        ([seen(0, 1, "a", appended="a"), seen(2, 3)], ["a"], "stale"),
        (
            [seen(0, 1, "a", appended="a"), seen(0, 1, "b", appended="b"), seen(2, 3, "b", "a")],
            ["a", "b"],
            "not a beginning",
        ),
    ],
)
def test_each_way_of_contradiction_is_named(
    observations: list[Observation], final: list[str], word: str
) -> None:
    assert any(word in line for line in History(observations).judge(final))


def test_values_of_unknown_outcome_may_be_there_or_not_but_not_twice() -> None:
    history = History([seen(0, 1, "a", appended="a")], unknown={"b": None})
    assert [] == list(history.judge(["a"]))
    assert [] == list(history.judge(["a", "b"]))
    assert any("twice" in line for line in history.judge(["a", "b", "b"]))


# -- schedules ------------------------------------------------------------------------------------


def test_a_seed_draws_the_same_schedule_again_and_another_seed_another() -> None:
    assert draw_schedule(5, 5, 60.0) == draw_schedule(5, 5, 60.0)
    assert draw_schedule(5, 5, 60.0) != draw_schedule(6, 5, 60.0)


def test_drawn_faults_are_possible_and_leave_a_majority() -> None:
    for seed in range(1, 60):
        schedule = draw_schedule(seed, 5, 120.0)
        assert schedule.faults
        for fault in schedule.faults:
            assert fault.kind not in IMPOSSIBLE
            assert set(fault.params) <= set(FAULTS[fault.kind].params)
            ends = [
                other.at + float(next(iter(other.params.values()), 0.0))
                for other in schedule.faults
                if other.at < fault.at
            ]
            assert sum(end > fault.at for end in ends) < 2


def test_every_kind_of_fault_is_either_done_or_named_as_impossible() -> None:
    assert sorted(FAULTS) == sorted([*KINDS, *IMPOSSIBLE])


def test_without_root_the_reasons_are_given() -> None:
    assert Abilities("needs root", "needs root") == find_abilities(root=False)


# -- the machine ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def abilities() -> Abilities:
    return find_abilities()


@pytest.fixture
def wires(abilities: Abilities) -> Iterator[tuple[Wire, Wire]]:
    if abilities.no_network:
        pytest.skip(f"this machine makes no network namespaces: {abilities.no_network}")
    switch = Switch(f"{PREFIX}{os.getpid()}-test")
    switch.open()
    try:
        yield switch.add(), switch.add()
    finally:
        switch.close()
        assert not [name for name in call("ip", "netns", "list").split() if "-test" in name]


class Echo:
    """Datagrams from one host to another and back."""

    def __init__(self, there: Wire) -> None:
        def listen() -> socket.socket:
            server = socket.socket(type=socket.SOCK_DGRAM)
            server.bind((there.address, PORT))
            return server

        self._there = there
        self._server = run_inside(there, listen)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            data, address = self._server.recvfrom(100)
            if data == b"end":
                return
            self._server.sendto(data, address)

    def reaches(self, here: Wire) -> bool:
        def ask() -> bool:
            with socket.socket(type=socket.SOCK_DGRAM) as client:
                client.settimeout(0.3)
                client.sendto(b"?", (self._there.address, PORT))
                try:
                    return client.recv(100) == b"?"
                except TimeoutError:
                    return False

        return run_inside(here, ask)

    def close(self) -> None:
        def end() -> None:
            with socket.socket(type=socket.SOCK_DGRAM) as client:
                client.sendto(b"end", (self._there.address, PORT))

        run_inside(self._there, end)
        self._thread.join()
        self._server.close()


@pytest.mark.needs_extra("ip", "nft")
def test_hosts_hear_each_other_until_they_are_cut_apart(wires: tuple[Wire, Wire]) -> None:
    one, two = wires
    echo = Echo(two)
    try:
        assert echo.reaches(one)
        two.deafen([one.address])
        two.deafen([one.address])
        assert not echo.reaches(one)
        two.hear([one.address])
        assert not echo.reaches(one), "two faults cut it off, and one of them lasts"
        two.hear([one.address])
        assert echo.reaches(one)
        one.lose(1.0)
        assert not echo.reaches(one), "the answer is lost"
        one.lose(0.0)
        two.unplug()
        assert not echo.reaches(one)
        two.heal()
        assert echo.reaches(one)
    finally:
        two.heal()
        echo.close()


@pytest.mark.needs_extra("ip", "nft")
def test_namespaces_of_a_killed_run_are_swept_away(abilities: Abilities) -> None:
    if abilities.no_network:
        pytest.skip(f"this machine makes no network namespaces: {abilities.no_network}")
    ended = subprocess.Popen(["true"])
    ended.wait()
    switch = Switch(f"{PREFIX}{ended.pid}")
    switch.open()
    mine = Switch(f"{PREFIX}{os.getpid()}-alive")
    mine.open()
    try:
        removed = sweep()
        assert f"{PREFIX}{ended.pid}-switch" in removed
        assert not [name for name in removed if "alive" in name]
    finally:
        switch.close()
        mine.close()


@pytest.fixture
def disk(abilities: Abilities, tmp_path: Path) -> Iterator[PowerDisk]:
    if abilities.no_power:
        pytest.skip(f"this machine makes no loop mounts: {abilities.no_power}")
    disk = PowerDisk(tmp_path, "disk", 16)
    try:
        disk.make()
        yield disk
    finally:
        disk.close()
        assert [] == list(tmp_path.iterdir())
        assert str(tmp_path) not in Path("/proc/mounts").read_text()


def synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def test_a_power_cut_keeps_what_was_synced_and_nothing_else(disk: PowerDisk) -> None:
    synced(disk.directory / "synced", b"here")
    (disk.directory / "not synced").write_bytes(b"gone")
    disk.cut()
    with pytest.raises(OSError, match=r"Input/output error|I/O error"):
        synced(disk.directory / "late", b"never")
    disk.unmount()
    disk.mount()
    assert ["synced"] == [path.name for path in disk.directory.iterdir()]
    assert b"here" == (disk.directory / "synced").read_bytes()


def test_a_full_disk_refuses_until_it_is_emptied(disk: PowerDisk) -> None:
    disk.fill()
    with pytest.raises(OSError) as refusal:
        (disk.directory / "more").write_bytes(bytes(1 << 20))
    assert errno.ENOSPC == refusal.value.errno
    disk.empty()
    (disk.directory / "more").write_bytes(bytes(1 << 20))


def test_a_missing_tool_is_named() -> None:
    with pytest.raises(ToolFailed, match="no-such-tool is not installed"):
        call("no-such-tool")
    with pytest.raises(ToolFailed, match="ls /no/such/place"):
        call("ls", "/no/such/place")


# -- all together ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_real_daemons_survive_a_schedule_and_leave_nothing_behind(tmp_path: Path) -> None:
    schedule = Schedule(
        nodes=3,
        duration_s=10.0,
        faults=(
            Fault(1.0, "kill", "n2", {"back_s": 1.0}),
            Fault(3.0, "pause", "n3", {"for_s": 1.5}),
            Fault(4.0, "partition", "n1"),
            Fault(5.0, "bit_rot", "any"),
            Fault(6.0, "stop", "any", {"back_s": 0.5}),
        ),
    )
    path = tmp_path / "schedule.json"
    path.write_bytes(msgspec.structs.replace(schedule, why="a test").encode())
    before = set(Path(os.environ.get("TMPDIR", "/tmp")).glob(f"{PREFIX}*"))
    result = CliRunner().invoke(real, [str(path), "--loopback", "--json"])
    assert 0 == result.exit_code, result.output
    found = json.loads(result.output.splitlines()[-1])
    assert 0 == found["violations"], result.output
    assert {"kill": 1, "pause": 1, "stop": 1} == found["fault_kinds"]
    assert ["bit_rot", "partition"] == sorted(line.partition(":")[0] for line in found["skipped"])
    assert found["ops"] > 20
    assert found["jobs"] >= 1
    assert before == set(Path(os.environ.get("TMPDIR", "/tmp")).glob(f"{PREFIX}*"))
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert f"/{PREFIX}-" not in running

"""The commands, as a script and as a person would use them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner, Result

from peerdisco.cli.lazy import LazyGroup
from peerdisco.cli.start import COMMANDS, peerdisco
from peerdisco_webui.messages import JobState

if TYPE_CHECKING:
    from tests.webui.backend import Backend, Servers

Run = Callable[..., Result]
PROGRAM = """
def map(line, params):
    for word in line.split():
        yield word, 1

def reduce(iter, params):
    from peerdisco.util import kvgroup
    for word, counts in kvgroup(sorted(iter)):
        yield word, sum(counts)
"""


def test_status_and_nodes(run: Run) -> None:
    result = run("status")
    assert result.exit_code == 0
    assert "2 nodes alive; cannot survive the loss of one" in result.output
    assert json.loads(run("status", "--json").output)["alive"] == 2
    rows = [line.split("\t") for line in run("nodes").output.splitlines()]
    assert [row[:2] for row in rows] == [["node-a", "alive"], ["node-b", "alive"]]
    assert len(json.loads(run("nodes", "--json").output)) == 2


def test_tokens(run: Run) -> None:
    assert run("token", "create").output == "pdc1.x.y@127.0.0.1:8989\n"
    assert run("token", "join").output.startswith("peerdisco --join pd1.")
    assert json.loads(run("token", "create", "--json").output) == {
        "client": "pdc1.x.y@127.0.0.1:8989"
    }


def test_a_program_is_submitted_waited_for_shown_and_purged(run: Run, tmp_path: Path) -> None:
    program, text = tmp_path / "counting.py", tmp_path / "text"
    program.write_text(PROGRAM)
    text.write_text("b a b\n")
    result = run("job", "submit", str(program), str(text), "-n", "words")
    name = result.output.strip()
    assert name.startswith("words@")
    assert run("job", "results", name, "--records").output == "a\t1\nb\t2\n"
    assert run("job", "results", "@", "--records").output == "a\t1\nb\t2\n"
    assert run("job", "results", "@", "--records", "--json").output == '["a",1]\n["b",2]\n'
    waited = run("job", "wait", "@?words")
    assert waited.output.endswith("\n")
    assert "blob:b3-" in waited.output
    shown = run("job", "show", name).output
    assert "ready, submitted 2027-01-15 08:00:00 UTC" in shown
    assert "map\t0\t0\t0\t1\t0" in shown
    assert json.loads(run("job", "show", name, "--json").output)["state"] == "ready"
    listed = run("job", "list", "words").output.rstrip("\n").split("\t")
    assert [*listed[:2], listed[-1]] == [name, "ready", "2/2"]
    assert run("job", "purge", name).output == f"purged {name}\n"
    assert run("job", "list").output == ""


def test_a_class_of_a_program_is_chosen_by_name(run: Run, tmp_path: Path) -> None:
    program = tmp_path / "classes.py"
    program.write_text(
        "from peerdisco import Job\n"
        "class Once(Job):\n    input = ['raw://x']\n    def map(self, e, p):\n        yield e, 1\n"
        "class Twice(Once):\n    input = ['raw://x', 'raw://y']\n"
    )
    result = run("job", "submit", f"{program}:Twice", "--wait", "--json")
    assert result.exit_code == 0, result.output
    assert run("job", "results", "@", "--records").output == "x\t1\ny\t1\n"
    result = run("job", "submit", str(program))
    assert result.exit_code == 2
    assert "several Job classes (Once, Twice)" in result.output
    assert "no Job class" in run("job", "submit", f"{program}:Thrice").output
    assert "not a Python file" in run("job", "submit", "nowhere.py").output


def test_a_dead_job_ends_with_code_3_and_the_traceback(
    run: Run, tmp_path: Path, backend: Backend
) -> None:
    program = tmp_path / "failing.py"
    program.write_text("def map(e, p):\n    raise ValueError('bad line')\n")
    result = run("job", "submit", str(program), "raw://x", "--wait")
    assert result.exit_code == 3
    assert "bad line" in result.output
    assert "Traceback (most recent call last)" in result.output
    assert "bad line" in run("job", "show", "@").output
    [name] = backend.jobs.jobs
    assert backend.jobs.jobs[name].state is JobState.DEAD
    assert run("job", "kill", name).exit_code == 0


def test_files_go_in_and_come_out(run: Run, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes(b"one\ntwo\n")
    assert run("ddfs", "push", "t", str(text)).output.startswith("blob:b3-")
    assert run("ddfs", "chunk", "t", "-", "--format", "plain", input=b"three\n").exit_code == 0
    assert run("ddfs", "cat", "t").stdout_bytes == b"three\none\ntwo\n"
    assert run("ddfs", "ls").output == "t\n"
    assert json.loads(run("ddfs", "ls", "nothing", "--json").output) == []
    assert len(run("ddfs", "urls", "t").output.splitlines()) == 2
    assert run("ddfs", "blobs", "t").output == run("ddfs", "urls", "t").output
    assert json.loads(run("ddfs", "get", "t").output)["version"] == 2
    assert run("ddfs", "stat", "t").output.startswith("t: version 2, 2 entries, 14 B, of ")
    assert run("ddfs", "tag", "u", "tag://t", "-u").output == "u: 1 entries\n"
    assert run("ddfs", "cat", "u").stdout_bytes == b"three\none\ntwo\n"
    assert run("ddfs", "exists", "t").output == "True\n"
    assert run("ddfs", "rm", "t").output == "deleted t\n"
    assert run("ddfs", "exists", "t").exit_code == 1


def test_attributes(run: Run) -> None:
    run("ddfs", "tag", "t")
    assert run("ddfs", "setattr", "t", "owner", "ann").exit_code == 0
    assert run("ddfs", "getattr", "t", "owner").output == "ann\n"
    assert run("ddfs", "attrs", "t").output == "owner\tann\n"
    assert run("ddfs", "delattr", "t", "owner").exit_code == 0
    assert run("ddfs", "getattr", "t", "owner").exit_code == 1


def test_errors_have_words_and_codes(run: Run) -> None:
    result = run("ddfs", "get", "nothing")
    assert (result.exit_code, result.output) == (1, "peerdisco: there is no tag nothing\n")
    assert run("job", "show", "@").exit_code == 1
    assert run("status", "--peer", "not an address").exit_code == 2
    assert run("job").exit_code == 2
    assert run("nonsense").exit_code == 2
    assert "starts a node" in run("--slots", "3", "status").output


def test_a_command_goes_on_at_the_next_node(run: Run, servers: Servers) -> None:
    servers.stop(0)
    assert run("status").exit_code == 0
    servers.stop(1)


def test_every_own_command_can_be_imported() -> None:
    for name in COMMANDS:
        group = click.Context(peerdisco)
        assert isinstance(peerdisco.get_command(group, name), click.Command)


def test_help_lists_all_commands_without_importing_them() -> None:
    output = CliRunner().invoke(peerdisco, ["--help"]).output
    for name, (_, text) in COMMANDS.items():
        assert name in output
        assert text in output


def test_a_group_closed_to_others_asks_no_entry_points() -> None:
    group = LazyGroup("x", lazy={"v": COMMANDS["version"]})
    assert group.list_commands(click.Context(group)) == ["v"]
    assert group.get_command(click.Context(group), "simulate") is None


@pytest.mark.parametrize("arguments", [["version"], ["version", "--json"]])
def test_the_version_as_a_process(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "peerdisco", *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert "0.1.0" in done.stdout
    assert "\x1b" not in done.stdout


def test_no_cluster_is_code_4_as_a_process(servers: Servers) -> None:
    servers.close()
    done = subprocess.run(
        [sys.executable, "-m", "peerdisco", "nodes"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PEERDISCO": servers.addresses[0]},
    )
    assert done.returncode == 4
    assert done.stdout == ""
    assert done.stderr.startswith("peerdisco: no node answers (")

"""`peerdisco raft`: what it prints, and that it asks before it recovers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from click.testing import Result

if TYPE_CHECKING:
    from tests.webui.backend import Backend

Run = Callable[..., Result]


def test_groups_are_listed_as_lines_and_as_json(run: Run) -> None:
    """One line each, with tabs where there is no terminal."""
    lines = run("raft", "list").output.splitlines()
    assert "job/count\tno majority\t\t5\tnode-a node-b node-c" == lines[0]
    listed = json.loads(run("raft", "list", "--json").output)
    assert ["job/count", "layout"] == [group["name"] for group in listed]


def test_a_group_is_shown_with_members_and_last_election(run: Run) -> None:
    """Unknown numbers are question marks."""
    output = run("raft", "show", "layout").output
    assert "layout: led by node-a, term 3" in output
    assert "node-a stood for term 3 61 s ago (evidence against the leader)" in output
    assert "node-b\tvoter\tsilent\t?\t?\t7\t?\t?\t?\t" in output
    assert 2 == len(json.loads(run("raft", "show", "layout", "--json").output)["members"])
    assert run("raft", "show", "unheard-of").exit_code == 1
    assert "no majority" in run("raft", "show", "job/count").output


def test_recovering_names_what_may_be_lost_and_asks(run: Run, backend: Backend) -> None:
    """No is the default."""
    refused = run("raft", "recover", "job/count", "--keep", "node-a", input="\n")
    assert refused.exit_code == 1
    assert "lost is whatever only node-b had" in refused.output
    assert 0 == backend.raft.job.era
    done = run("raft", "recover", "job/count", "--keep", "node-a", input="y\n")
    assert done.exit_code == 0
    assert "node-a is the whole group" in done.output
    again = run("raft", "recover", "job/count", "--keep", "node-a", "--yes")
    assert again.exit_code == 1
    assert "needs no recovery" in again.output


def test_recovering_without_asking(run: Run, backend: Backend) -> None:
    """For scripts."""
    output = run("raft", "recover", "job/count", "--keep", "node-a", "--yes", "--json").output
    assert json.loads(output)["done"]
    assert 1 == backend.raft.job.era

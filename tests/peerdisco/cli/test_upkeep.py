"""`peerdisco ddfs gc`, `peerdisco layout` and `peerdisco dht`: what they print and ask for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., Any]


def test_a_collection_is_started_followed_and_told(run: Run, backend: Any) -> None:
    done = run("ddfs", "gc")
    assert done.exit_code == 0
    assert "generation 1: done\n7 blobs named by 4 tags and other registers\n" in done.output
    assert "into the trash: 3 copies, 3.1 MB\n" in done.output
    assert backend.upkeep.looks >= 3


def test_a_dry_run_says_what_would_go_and_why(run: Run) -> None:
    output = run("ddfs", "gc", "--dry-run").output
    assert "a dry run" in output
    assert f"b3-{64 * '0'}\t1.0 MB\tcondemn: no tag\n" in output


def test_collections_are_held_and_released(run: Run, backend: Any) -> None:
    assert run("ddfs", "gc", "--hold").output == "collections are on hold\n"
    refused = run("ddfs", "gc")
    assert refused.exit_code == 1
    assert "on hold" in refused.output
    assert "on hold" in run("ddfs", "gc", "--status").output
    assert json.loads(run("ddfs", "gc", "--release", "--json").output) == {"held": False}


def test_the_layout_is_shown_and_changes_are_planned_before_they_are_made(
    run: Run, backend: Any
) -> None:
    lines = run("layout", "show").stdout.splitlines()
    assert lines[0].split("\t")[:4] == ["node-a", "up", "", "4096"]
    for command in (("plan", "drain", "node-b"), ("drain", "node-b", "--dry-run")):
        done = run("layout", *command)
        assert done.stdout == "node-a\t4096\t4096\t5\t5.2 MB\tid-node-a\n"
        assert "5 copies, 5.2 MB move; 12 % of homes" in done.stderr
        assert "node-c did not say" in done.stderr
        assert backend.upkeep.states["node-b"] == "up"
    assert "epoch 7" in run("layout", "drain", "node-b").output
    assert backend.upkeep.states["node-b"] == "draining"
    refused = run("layout", "remove", "node-b")
    assert refused.exit_code == 1
    assert "still has 2 blobs to move" in refused.output
    assert run("layout", "remove", "node-b", "--force").exit_code == 0
    assert backend.upkeep.states["node-b"] == "gone"
    assert run("layout", "add", "node-b").exit_code == 0
    assert run("layout", "replicas", "3").exit_code == 0
    assert run("layout", "plan", "replicas", "many").exit_code == 2
    assert "no node" in run("layout", "drain", "nobody").output
    assert json.loads(run("layout", "plan", "add", "node-a", "--json").output)["moved"] == 1024


def test_a_key_is_looked_up(run: Run) -> None:
    output = run("dht", "find", "tag://words").output
    assert f"key {40 * 'a'}, partition 2730, epoch 7\nhome: node-a, node-b\n" in output
    assert "told by node-b; nearest that answered: node-b" in output


def test_df_tells_what_nodes_hold_and_what_repair_has_left(run: Run) -> None:
    first, second = run("ddfs", "df").stdout.splitlines()
    assert first.split("\t")[:6] == ["node-a", "up, low", "1.0 TB", "1.0 GB", "9", "90 B"]
    assert first.endswith("\t3.1 MB to send, 1 min 2 s")
    assert second.split("\t")[:2] == ["node-b", "up, silent"]
    nodes = json.loads(run("ddfs", "df", "--json").output)["nodes"]
    assert nodes[0]["repair"]["blobs_left"] == 3


def test_scrub_tells_what_was_found_and_begins_when_asked(run: Run) -> None:
    first, second = run("ddfs", "scrub").stdout.splitlines()
    assert first.split("\t") == [
        "node-a",
        "2001-09-09 01:46:40",
        "7 blobs, 7.0 kB, 2 rotten",
        "",
        "1",
    ]
    assert second.split("\t") == ["node-b", "never", "", "silent", ""]
    started = json.loads(run("ddfs", "scrub", "--now", "--json").output)["nodes"][0]
    assert started["running"]["blobs"] == 0


def test_du_tells_what_tags_hold(run: Run) -> None:
    done = run("ddfs", "du", "logs:")
    assert done.stdout == "5.0 kB\t5\t2\tlogs:*\n"
    assert "1 blobs were not found" in done.stderr
    assert json.loads(run("ddfs", "du", "--owner", "me", "--json").stdout)["owner"] == "me"


def test_quotas_are_set_shown_and_removed(run: Run) -> None:
    assert run("ddfs", "quota", "set", "prefix", "logs:").exit_code == 2
    assert (
        "within a few seconds" in run("ddfs", "quota", "set", "owner", "ann", "--tags", "5").output
    )
    assert run("ddfs", "quota", "set", "prefix", "logs:", "--bytes", "1000").exit_code == 0
    assert run("ddfs", "quota", "show").stdout.splitlines() == [
        "owner\tann\t500 B\t\t1\t5",
        "prefix\tlogs:\t500 B\t1.0 kB\t1\t",
    ]
    assert "removed" in run("ddfs", "quota", "remove", "owner", "ann").output
    (left,) = json.loads(run("ddfs", "quota", "show", "--json").output)
    assert (left["name"], left["bytes"]) == ("logs:", 1000)


def test_a_push_beyond_a_quota_is_refused_with_the_reason(run: Run, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(11))
    done = run("ddfs", "push", "small:tag", str(large))
    assert done.exit_code != 0
    assert "the quota of prefix 'small:' is 10 bytes" in done.output

"""The command line: what it prints, and what it says when a seed fails."""

from __future__ import annotations

import json
from importlib.metadata import entry_points

import click
from click.testing import CliRunner, Result

from peerdisco_sim.cli import make_commands, simulate
from peerdisco_sim.scenario import Scenario, Tally
from peerdisco_sim.world import World


def _break(world: World, nodes: int) -> Tally:
    world.run_for(1.5)
    if world.seed % 2:
        world.fail("rule", f"broken with {nodes} nodes", "n1")
    return Tally(operations=3)


def _crash(world: World, nodes: int) -> Tally:
    raise ZeroDivisionError(f"{world.seed} {nodes}")


BROKEN = make_commands(
    {
        "breaking": Scenario("breaking", "fails when the seed is odd", 7, _break),
        "crashing": Scenario("crashing", "has a bug", 1, _crash),
    }
)


def call(*arguments: str, group: click.Group = simulate) -> Result:
    return CliRunner().invoke(group, arguments)


def test_a_run_says_what_happened_in_one_line() -> None:
    result = call("run", "--seed", "5", "--nodes", "3")
    assert 0 == result.exit_code
    assert result.output.startswith("seed 5: echo, 3 nodes, ")
    assert 1 == len(result.output.splitlines())


def test_a_failure_prints_the_line_that_replays_it() -> None:
    result = call("run", "--scenario", "breaking", "--seed", "2", "--seeds", "2", group=BROKEN)
    assert 1 == result.exit_code
    last = result.output.splitlines()[-1]
    assert last.startswith("replay: peerdisco simulate run --scenario breaking --nodes 7 --seed 3")
    assert "t=1.500000: rule on n1: broken with 7 nodes" in result.output


def test_a_bug_of_the_scenario_is_a_failure_with_its_traceback() -> None:
    result = call("run", "--scenario", "crashing", "--seed", "4", group=BROKEN)
    assert 1 == result.exit_code
    assert "ZeroDivisionError: 4 1" in result.output


def test_json_ends_with_one_object() -> None:
    result = call("run", "--scenario", "breaking", "--seeds", "4", "--json", group=BROKEN)
    found = json.loads(result.output.splitlines()[-1])
    expected = {"seeds": 4, "ops": 12, "violations": 2, "failed_seeds": [1, 3], "faults": 0}
    assert expected == {key: found[key] for key in expected}
    assert {"cluster_hours", "undecided", "cpu_s", "fault_kinds", "knobs"} <= set(found)


def test_scenarios_are_listed() -> None:
    assert "echo" in call("scenarios").output


def test_the_command_is_registered_for_peerdisco() -> None:
    (entry,) = entry_points(group="peerdisco.commands", name="simulate")
    assert entry.load() is simulate

"""The simulator in figures: speed, seeds, planted bugs, determinism.

    make bench NAME=simulate                       all of it (about twenty minutes on two cores)
    make bench NAME=simulate ARGS="--quick"        a few seeds, two of the planted bugs

Speeds are per CPU-second of one core, because machines are noisy; still a busy neighbour takes
half of them away, through the caches, so the load is told with them. Every line tells what was
measured; the last one is one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time

from peerdisco_gossip import MemberState
from peerdisco_gossip.messages import Row
from peerdisco_sim.campaign import Campaign, processors, run_campaign, swarm_jobs
from peerdisco_sim.cluster import Cluster
from peerdisco_sim.network import Conditions
from peerdisco_sim.planted import BUGS
from peerdisco_sim.planted.search import SEEDS_MAX, search
from peerdisco_sim.play import play
from peerdisco_sim.scenarios import swim
from peerdisco_sim.schedule import Schedule, WorkloadSpec
from peerdisco_sim.sharing import share
from peerdisco_sim.streams import stream
from peerdisco_sim.swarm import draw_faults
from peerdisco_sim.world import World

NODES, DURATION_S, FAULTS_PER_S = 5, 60.0, 1.0
SPEED_SEEDS = 10
SWIM_NODES, SWIM_SETTLE_S, SWIM_S = 1000, 5.0, 30.0
SWIM_LOSS = Conditions(0.0005, 0.003, loss=0.01)
CAMPAIGN_SEEDS = 200


def measure_speed(seeds: int) -> dict[str, object]:
    """Five nodes, a job workload, all checkers, about one fault a second."""
    virtual_s = cpu_s = 0.0
    faults = 0
    for seed in range(1, seeds + 1):
        draws = stream(seed, "benchmark")
        schedule = Schedule(
            seed=seed,
            nodes=NODES,
            duration_s=DURATION_S,
            workloads=(WorkloadSpec("wordcount"),),
            faults=draw_faults(draws, DURATION_S, rate=FAULTS_PER_S),
        )
        outcome = play(schedule)
        virtual_s += outcome.virtual_s
        cpu_s += outcome.cpu_s
        faults += sum(outcome.fired.values())
        print(
            f"speed, seed {seed}: {outcome.virtual_s / outcome.cpu_s:.1f} cluster-s per CPU-s, "
            f"{sum(outcome.fired.values())} faults, {len(outcome.failures)} violations",
            flush=True,
        )
    return {
        "cluster_s_per_cpu_s": round(virtual_s / cpu_s, 1),
        "speed_faults_per_s": round(faults / virtual_s, 2),
    }


def measure_swim(seconds: float) -> dict[str, object]:
    """Real membership on a thousand nodes that know each other, 1 % loss, in its steady state."""
    share()
    with World(1) as world:
        cluster, views = Cluster(world, swim.member), swim.Views()
        rows: list[Row] = []
        for number in range(1, SWIM_NODES + 1):
            name = f"n{number}"
            sim = cluster.start(name, rows, views)
            identity = swim.node_id(name)
            rows.append(Row(identity, 1, 0, MemberState.ALIVE.value, sim.ip, swim.PORT))
        world.run_for(0.5)
        cluster.degrade(SWIM_LOSS)
        world.run_for(SWIM_SETTLE_S)
        datagrams, began = world.network.traffic.datagrams_sent, time.process_time()
        world.run_for(seconds)
        cpu_s = time.process_time() - began
        datagrams = world.network.traffic.datagrams_sent - datagrams
        assert not world.failures, world.failures[0].line()
    print(
        f"swim: {seconds:.0f} s of {SWIM_NODES} nodes in {cpu_s:.1f} CPU s, "
        f"{cpu_s / datagrams * 1e6:.0f} microseconds for each of {datagrams} datagrams",
        flush=True,
    )
    return {f"swim_{SWIM_NODES}_x_realtime": round(seconds / cpu_s, 2)}


def measure_campaign(seeds: int) -> dict[str, object]:
    """Many seeds with their digests."""
    campaign: Campaign = run_campaign(
        swarm_jobs(1, seeds),
        processes=processors(),
        repeat_share=0.02,
        show=lambda result: print(result.text(), flush=True),
    )
    results = campaign.results
    for complaint in campaign.complaints:
        print(complaint, flush=True)
    cpu_s = sum(each.cpu_s for each in results)
    return {
        "seeds": len(results),
        "cluster_hours": round(sum(each.virtual_s for each in results) / 3600, 3),
        "faults": sum(sum(each.faults.values()) for each in results),
        "operations": sum(each.operations for each in results),
        "violations": sum(len(each.violations) for each in results),
        "undecided": sum(each.undecided for each in results),
        "campaign_cpu_s": round(cpu_s, 1),
        "campaign_wall_s": round(campaign.wall_s, 1),
        "repeated": campaign.repeated,
        "digests_equal": not [line for line in campaign.complaints if "digest" in line],
    }


def measure_planted(bugs: int) -> dict[str, object]:
    """How many of so many planted bugs are found, and the most seeds that one took."""
    found = []
    for bug in itertools.islice(BUGS.values(), bugs):
        found.append(search(bug, processes=processors(), seeds_max=SEEDS_MAX))
        print(found[-1].text(), flush=True)
    return {
        "planted": len(found),
        "planted_found": sum(bool(each.rule) for each in found),
        "max_seeds_to_find": max((each.seeds for each in found if each.rule), default=0),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=CAMPAIGN_SEEDS, help="of the campaign")
    parser.add_argument("--quick", action="store_true", help="little of everything")
    options = parser.parse_args()
    quick = options.quick
    figures: dict[str, object] = {"load_before": round(os.getloadavg()[0], 2)}
    figures |= measure_speed(3 if quick else SPEED_SEEDS)
    figures |= measure_swim(10.0 if quick else SWIM_S)
    figures |= measure_campaign(8 if quick else options.seeds)
    figures |= measure_planted(2 if quick else len(BUGS))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

"""Judges: what must hold of a cluster, checked as it happens where that costs O(1), else at rest.

Pure rules (`*_rules.py`, `list_append.py`, `linearizability.py`) are fed with events; the checkers
here listen to the real nodes from the outside, by `taps.py`, and look at the disks themselves.
A violation goes to `arena.fail`, never as an exception into a node's code.

    membership   M1 M2 M3 M4 M5 M6 M7
    raft         R1 R2 R3 R4 R5 R6 R9 R10
    registers    T1 T2 (acceptors keep their promises, over restarts too)
    tags         B5 R7 R8 of tags
    blobs        B1 B3 B4 B6 B9; B2 is checked by everybody who reads a blob
    lookups      B7
    jobs         F1 J2 J3 J4 J5 J6 J7 J8, R7 of jobs; J1 by the workloads, which know what is right
    traffic      M6 B8
    hygiene      N1 N2 N5; N3 by `crash_points.py`, N4 by the fault `clock_jump` under all others,
                 which nodes that trust the calendar do not survive (tested); N6 by `campaign.py`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from peerdisco_sim.arena import Checker
from peerdisco_sim.checkers.blobs import BlobChecker
from peerdisco_sim.checkers.hygiene import HygieneChecker
from peerdisco_sim.checkers.jobs import JobChecker
from peerdisco_sim.checkers.lookups import LookupChecker
from peerdisco_sim.checkers.membership import MembershipChecker
from peerdisco_sim.checkers.raft import RaftChecker
from peerdisco_sim.checkers.registers import RegisterChecker
from peerdisco_sim.checkers.tags import TagChecker
from peerdisco_sim.checkers.traffic import TrafficChecker

CHECKERS: Mapping[str, Callable[[], Checker]] = {
    "membership": MembershipChecker,
    "raft": RaftChecker,
    "registers": RegisterChecker,
    "tags": TagChecker,
    "blobs": BlobChecker,
    "lookups": LookupChecker,
    "jobs": JobChecker,
    "traffic": TrafficChecker,
    "hygiene": HygieneChecker,
}
"""All checkers by name."""

"""Work that all simulated nodes may share, since they share one memory.

Real nodes each compute where the partitions of a layout lie; in the simulator the same pure
function would be called with the same arguments once per node and boot. Only pure functions of
immutable arguments belong here: sharing their results changes how long a play takes, nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import peerdisco_dht.keeper as keeper_module
import peerdisco_gossip.keys as keys_module
import peerdisco_gossip.members as members_module
import peerdisco_gossip.seal as seal_module
from peerdisco_dht.placement import Candidate, Table
from peerdisco_dht.placement import place as compute
from peerdisco_gossip.rosters import fingerprint

TABLES_MAX = 64
KEYS_MAX = 65_536
ROWS_MAX = 65_536


@functools.lru_cache(TABLES_MAX)
def _place(candidates: tuple[Candidate, ...], replicas: int) -> Table:
    return compute(candidates, replicas)


def _shared_place(candidates: Sequence[Candidate], replicas: int) -> Table:
    return _place(tuple(candidates), replicas)


_derive = functools.lru_cache(KEYS_MAX)(keys_module._derive)
_sub_key = functools.lru_cache(KEYS_MAX)(keys_module.sub_key)
_fingerprint = functools.lru_cache(ROWS_MAX)(fingerprint)


def share() -> None:
    """Share from now on, in this process. Idempotent."""
    keeper_module.place = _shared_place  # type: ignore[attr-defined]  # its own import, replaced
    keys_module._derive = _derive
    seal_module.sub_key = _sub_key  # type: ignore[attr-defined]  # likewise
    members_module.fingerprint = _fingerprint  # type: ignore[attr-defined]  # likewise

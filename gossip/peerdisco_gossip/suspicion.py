"""How long a suspect has to object: Lifeguard's dynamic timeout (Lifeguard, section IV.B).

The timeout starts long and shrinks with every independent accuser, because a lone accuser may
itself be the one in trouble. Pure values; who suspects whom is decided in `ledger.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from peerdisco_gossip.config import GossipConfig


@dataclass(slots=True)
class Suspicion:
    """A running suspicion.

    Attributes:
        started: When it began.
        shortest_s: Timeout once `wanted` accusers confirmed it.
        longest_s: Timeout while nobody did.
        wanted: How many confirmations shorten it fully; 0 when nobody else could confirm.
        accusers: Who accuses, the first one included; it does not confirm itself.
        due_by: An earlier end that outside evidence asked for.
    """

    started: float
    shortest_s: float
    longest_s: float
    wanted: int
    accusers: dict[str, None] = field(default_factory=dict)
    due_by: float = math.inf

    def confirm(self, accuser: str) -> bool:
        """Note an accuser; True when it is new and counts, so that it is worth repeating."""
        if accuser in self.accusers or len(self.accusers) > self.wanted:
            return False
        self.accusers[accuser] = None
        return True

    @property
    def deadline(self) -> float:
        """When the suspect is declared dead."""
        timeout = self.shortest_s
        if self.wanted:
            confirmed = max(0, len(self.accusers) - 1)
            share = math.log(confirmed + 1) / math.log(self.wanted + 1)
            timeout = self.longest_s - share * (self.longest_s - self.shortest_s)
        return min(self.started + max(timeout, self.shortest_s), self.due_by)

    def hasten(self, due_by: float) -> None:
        """End no later than this: there is evidence beside the missing answers."""
        self.due_by = min(self.due_by, due_by)

    def postpone(self, seconds: float, earliest: float) -> None:
        """Grant the time in which objections could not be heard here."""
        self.started = max(self.started + seconds, earliest - self.shortest_s)
        if self.due_by < math.inf:
            self.due_by = max(self.due_by + seconds, earliest)


def begin(accuser: str, present: int, config: GossipConfig, now: float) -> Suspicion:
    """A new suspicion in a cluster where this many members take part."""
    scale = max(1.0, math.log10(max(1, present)))
    shortest_s = config.suspicion_mult * scale * config.probe_interval_s
    wanted = max(0, min(config.confirmations, present - 2))
    longest_s = shortest_s * config.suspicion_max_mult
    return Suspicion(now, shortest_s, longest_s, wanted, {accuser: None})

"""An iterative lookup (Maymounkov & Mazieres 2002, section 2.3) as a pure state machine.

Up to ALPHA questions are in flight, without rounds. A question unanswered for 20 ms no longer
occupies a place, so the dead cost nearly nothing; it is repeated once, since datagrams get lost,
and given up later. The crawl is done when the nearest `wanted` candidates that were not given up
have all answered. Only nodes that answered are in the result.

The driver performs the `Ask`s, feeds answers, and calls `tick` at `deadline`.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from peerdisco_dht.kademlia.messages import Contact

ALPHA = 6
HEDGE_S = 0.02
REPEAT_S = 0.05
GIVE_UP_S = 0.15
WANTED = 8
CANDIDATES_MAX = 2000


class State(enum.Enum):
    """What we know of a candidate."""

    KNOWN = "known"
    ASKED = "asked"
    SLOW = "slow"
    """Asked, and silent for longer than the hedge."""
    REPEATED = "repeated"
    ANSWERED = "answered"
    SILENT = "silent"
    """Given up; an answer that comes after all still counts."""


_PATIENCE = {State.ASKED: HEDGE_S, State.SLOW: REPEAT_S, State.REPEATED: GIVE_UP_S}
_NEXT = {State.ASKED: State.SLOW, State.SLOW: State.REPEATED, State.REPEATED: State.SILENT}


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask this contact for its neighbours of the target."""

    contact: Contact


@dataclass(slots=True)
class _Candidate:
    contact: Contact
    distance: int
    state: State = State.KNOWN
    asked_at: float = 0.0


class Crawl:
    """One lookup.

    Args:
        me: Our own key, never asked.
        target: The key looked for.
        seeds: Whom to begin with.
        wanted: How many of the nearest responders must be certain.
    """

    def __init__(
        self, me: bytes, target: bytes, seeds: Sequence[Contact], wanted: int = WANTED
    ) -> None:
        self._me = me
        self.target = target
        self._number = int.from_bytes(target, "big")
        self._wanted = wanted
        self._candidates: dict[bytes, _Candidate] = {}
        self._add(seeds)

    @property
    def done(self) -> bool:
        """Whether the result is final."""
        return all(candidate.state is State.ANSWERED for candidate in self._front())

    @property
    def deadline(self) -> float | None:
        """When to call `tick`; None when nothing is awaited."""
        return min(
            (
                candidate.asked_at + _PATIENCE[candidate.state]
                for candidate in self._candidates.values()
                if candidate.state in _PATIENCE
            ),
            default=None,
        )

    def result(self, count: int) -> list[Contact]:
        """The nearest contacts that answered, nearest first."""
        answered = [c for c in self._candidates.values() if c.state is State.ANSWERED]
        return [c.contact for c in sorted(answered, key=lambda c: c.distance)[:count]]

    def start(self, now: float) -> list[Ask]:
        """The first questions."""
        return self._ask(now)

    def answered(self, key: bytes, contacts: Sequence[Contact], now: float) -> list[Ask]:
        """A candidate answered with its neighbours of the target."""
        candidate = self._candidates.get(key)
        if candidate is None or candidate.state is State.KNOWN:
            return []
        candidate.state = State.ANSWERED
        self._add(contacts)
        return self._ask(now)

    def tick(self, now: float) -> list[Ask]:
        """Time has passed."""
        repeats = []
        for candidate in self._candidates.values():
            while (
                candidate.state in _PATIENCE
                and now >= candidate.asked_at + _PATIENCE[candidate.state]
            ):
                candidate.state = _NEXT[candidate.state]
                if candidate.state is State.REPEATED:
                    repeats.append(Ask(candidate.contact))
        return [*repeats, *self._ask(now)]

    def _add(self, contacts: Sequence[Contact]) -> None:
        for contact in contacts:
            known = contact.key in self._candidates or contact.key == self._me
            if not known and len(self._candidates) < CANDIDATES_MAX:
                distance = int.from_bytes(contact.key, "big") ^ self._number
                self._candidates[contact.key] = _Candidate(contact, distance)

    def _front(self) -> list[_Candidate]:
        """The nearest candidates that were not given up: they decide whether we are done."""
        return self._nearest([c for c in self._candidates.values() if c.state is not State.SILENT])

    def _prompt(self) -> list[_Candidate]:
        """The nearest candidates without those that are slow: they are worth asking.

        Whoever stands behind a slow candidate is asked at once, so that several dead ones near
        the target cost one patience and not one each.
        """
        prompt = (State.KNOWN, State.ASKED, State.ANSWERED)
        return self._nearest([c for c in self._candidates.values() if c.state in prompt])

    def _nearest(self, candidates: list[_Candidate]) -> list[_Candidate]:
        return sorted(candidates, key=lambda c: c.distance)[: self._wanted]

    def _ask(self, now: float) -> list[Ask]:
        in_flight = sum(c.state is State.ASKED for c in self._candidates.values())
        asks: list[Ask] = []
        for candidate in self._prompt():
            if in_flight + len(asks) >= ALPHA:
                break
            if candidate.state is State.KNOWN:
                candidate.state = State.ASKED
                candidate.asked_at = now
                asks.append(Ask(candidate.contact))
        return asks

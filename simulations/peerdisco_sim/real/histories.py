"""What clients saw of a list that only grows, and whether that can have been one list.

Several clients append to one tag and read it. The judgement is exact and needs no search: values
are unique, so the last state orders all of them, and every earlier observation must be a prefix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Observation:
    """One answered operation.

    Attributes:
        began: When it was asked, on the clock of all clients.
        ended: When the answer came.
        values: The list in the answer, oldest first.
        appended: What it put there; empty for a read.
    """

    began: float
    ended: float
    values: tuple[str, ...]
    appended: str = ""


@dataclass(slots=True)
class History:
    """All that is known of one list.

    Attributes:
        observations: The answers, in any order.
        unknown: Values whose append brought no answer.
    """

    observations: list[Observation] = field(default_factory=list)
    unknown: dict[str, None] = field(default_factory=dict)

    def judge(self, final: Sequence[str]) -> Iterator[str]:
        """Every way in which this and the last state contradict each other, in words."""
        final = tuple(final)
        tried = {seen.appended for seen in self.observations} | set(self.unknown)
        if len(set(final)) != len(final):
            yield f"appended twice: {[v for v in dict.fromkeys(final) if final.count(v) > 1]}"
        if strange := [value for value in final if value not in tried]:
            yield f"never appended: {strange}"
        for seen in self.observations:
            if seen.appended and seen.appended not in final:
                yield f"acknowledged and lost: {seen.appended}"
            if seen.appended and seen.appended not in seen.values:
                yield f"acknowledged without being there: {seen.appended}"
            if seen.values != final[: len(seen.values)]:
                yield f"not a beginning of the last state: {seen.values[-3:]} in {final}"
        yield from self._in_order_of_time()

    def _in_order_of_time(self) -> Iterator[str]:
        """Who asks after an answer has come sees at least what that answer held."""
        by_end = sorted(self.observations, key=lambda seen: seen.ended)
        longest, passed = 0, 0
        for seen in sorted(self.observations, key=lambda seen: seen.began):
            while by_end[passed].ended < seen.began:
                longest = max(longest, len(by_end[passed].values))
                passed += 1
            if len(seen.values) < longest:
                yield f"stale: {len(seen.values)} values at {seen.began:.3f}, {longest} before"

"""Tags, judged by what their clients saw.

Workloads write down what they asked for and what they were told in `arena.histories`. Lists that
were only appended to are judged exactly (`list_append.py`), others by a search with a budget
(`linearizability.py` with `tag_model.py`); histories that it cannot decide are counted.

    B5  no acknowledged append is lost or doubled, and every tag is linearizable
    R7  the same, of operations that change and read and depend on versions
    R8  what a client repeats under its number is applied once
"""

from __future__ import annotations

from peerdisco_sim.arena import Arena
from peerdisco_sim.histories import AppendHistory, TagHistory
from peerdisco_sim.linearizability import Verdict, decide
from peerdisco_sim.list_append import judge
from peerdisco_sim.tag_model import TagModel


class TagChecker:
    """B5, R7 and R8 of the list in `__init__.py`.

    Attributes:
        undecided: Histories that could not be judged within their budget.
    """

    name = "tags"

    def begin(self, arena: Arena) -> None:
        """See Checker."""
        self._arena = arena
        self.undecided = 0

    def at_rest(self) -> None:
        """Judge all histories."""
        for name, history in self._arena.histories.items():
            if isinstance(history, AppendHistory):
                self._judge_appends(name, history)
            elif isinstance(history, TagHistory):
                self._judge_tag(name, history)

    def _judge_appends(self, name: str, history: AppendHistory) -> None:
        if history.final is None:
            self.undecided += 1
            return
        for wrong in judge(history.appends, history.reads, history.final)[:1]:
            self._arena.fail("B5 not linearizable", f"{name}: {wrong}")

    def _judge_tag(self, name: str, history: TagHistory) -> None:
        decision = decide(history.known(), TagModel())
        if decision.verdict is Verdict.UNDECIDED:
            self.undecided += 1
        elif decision.verdict is Verdict.VIOLATION:
            detail = f"{name}: nothing explains {decision.stuck}"
            self._arena.fail("R7 not linearizable", detail)

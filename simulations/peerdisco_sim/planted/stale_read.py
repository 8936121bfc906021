"""A read believes the first home that answers, instead of a majority."""

from __future__ import annotations

from peerdisco_dht.epochs import StaleEpoch
from peerdisco_dht.errors import Unavailable
from peerdisco_dht.keys import partition_of_name
from peerdisco_dht.registers import router
from peerdisco_dht.registers.messages import Peek, RegisterValue
from peerdisco_sim.planted.bug import Bug, asked_for, put


def plant() -> None:
    """One answer is enough."""

    async def read(self: router.Router, name: str) -> RegisterValue:
        sets = self._keeper.quorum_sets(partition_of_name(name))
        try:
            held = await self._acceptors.peek(sets, Peek(name))
        except StaleEpoch as error:
            raise Unavailable("the layout is changing") from error
        if not held:
            raise Unavailable(f"no home of {name} answers")
        return router._value(name, held[min(held)].value)

    put(router.Router, "read", read)


BUG = Bug(
    "stale-read",
    "a tag is read from one home without asking a majority",
    ("B5", "R7"),
    plant,
    asked_for("tags"),
)

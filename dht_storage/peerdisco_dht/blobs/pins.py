"""Who still needs a blob: pure rules.

Equal content has one id, so two jobs may have made the same blob, and deleting the output of one
must not take that of the other. Every put leaves a *pin*, its owner and a number of its own; a
delete releases the pins of one owner that the home knows; a blob goes when no pin is left. Homes
that missed something merge their pins: what was released stays released, and a pin that nobody has
seen released holds (an observed-remove set), so a merge never loses an acknowledged put.
"""

from __future__ import annotations

from peerdisco_dht.messages import Message

LIVE_MAX = 64
"""Owners told apart; a blob with more is kept until garbage collection."""
GONE_MAX = 64
"""Released pins remembered; forgetting one can only bring back bytes, never lose them."""
SHARED = "*"
"""The pin that stands for more owners than can be told apart; never released."""


class Pins(Message, frozen=True, array_like=True):
    """Pins of a blob, each sorted.

    Attributes:
        live: Pins that hold the blob.
        gone: Pins that were released.
    """

    live: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


def pin(owner: str, number: str) -> str:
    """A pin of an owner; `number` must never have been used before."""
    return f"{owner}/{number}"


def owner_of(pin: str) -> str:
    """Whose pin it is."""
    return pin.rpartition("/")[0]


def merge(ours: Pins, theirs: Pins) -> Pins:
    """What two homes know together. An owner needs one live pin only."""
    gone = sorted({*ours.gone, *theirs.gone})
    live: dict[str, str] = {}
    for each in (*ours.live, *theirs.live):
        if each == SHARED or each not in gone:
            live.setdefault(each if each == SHARED else owner_of(each) + "/", each)
    shared = SHARED in live or len(live) > LIVE_MAX
    pins = [SHARED] if shared else sorted(live.values())
    return Pins(tuple(pins), tuple(gone[-GONE_MAX:]))


def release(pins: Pins, owner: str) -> Pins:
    """Without the pins of an owner."""
    mine = [each for each in pins.live if each != SHARED and owner_of(each) == owner]
    live = tuple(each for each in pins.live if each not in mine)
    gone = sorted({*pins.gone, *mine})
    return Pins(live, tuple(gone[-GONE_MAX:]))

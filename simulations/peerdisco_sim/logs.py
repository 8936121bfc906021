"""What the nodes log goes into the record, with the name of the machine that said it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from peerdisco_sim.recorder import Recorder
from peerdisco_sim.world import World


class _ToRecord(logging.Handler):
    """Notes each log record as an event of kind `log`."""

    def __init__(self, world: World, recorder: Recorder, level: int) -> None:
        super().__init__(level)
        self._world = world
        self._recorder = recorder

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        current = self._world.current
        detail = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            detail = f"{detail}: {type(error).__name__}: {error}"
        node = "" if current is None else current.name
        self._recorder.note("log", detail, node, level=record.levelname, logger=record.name)


@contextlib.contextmanager
def recorded(world: World, recorder: Recorder, level: int) -> Iterator[None]:
    """Record what is logged at that level or above, instead of writing it anywhere."""
    root = logging.getLogger()
    before, handlers = root.level, root.handlers
    root.handlers = [_ToRecord(world, recorder, level)]
    root.setLevel(level)
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(before)

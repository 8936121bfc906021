"""The worker process: `python -m peerdisco.worker`, started by the node, warm before it is asked.

Frames come on standard input and leave on standard output, each behind its length (4 bytes, big
endian). Both descriptors are moved out of the way first, so that nothing the user's code prints
or reads can touch the frames: its output goes to standard error, which the node keeps as a log.
The process ends at the end of its input, at once, also amid a task: then its node is gone. A
thread of ours notices that, unless the user's code keeps the interpreter to itself (a long sort,
a regular expression); on Linux the kernel ends the process even then.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import queue
import signal
import struct
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

from peerdisco.worker.local_files import LocalFiles
from peerdisco.worker.service import Service

FRAME_BYTES_MAX = 64 << 20
"""No longer frame is accepted or sent."""

_LENGTH = struct.Struct(">I")
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Answer frames until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the node, which then ends us
    _die_with_parent()
    sys.path[:] = [path for path in sys.path if path not in ("", str(Path.cwd()))]  # data, not code
    frames_in, frames_out = _take_descriptors()
    service = Service(
        LocalFiles(Path()),
        name=f"peerdisco worker {os.getpid()}",
        clock=time.monotonic,
        cpu_clock=time.process_time,
        log_copy=sys.stderr,
    )
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read_frames, args=(frames_in, requests), daemon=True).start()
    gc.collect()
    gc.freeze()  # what was imported stays: no collection need look at it again
    while True:
        for frame in service.handle(requests.get()):
            frames_out.write(_LENGTH.pack(len(frame)) + frame)
            frames_out.flush()


def _die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the thread that started this process ends."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # a system that hides it does without
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _take_descriptors() -> tuple[BinaryIO, BinaryIO]:
    frames_in = os.fdopen(os.dup(0), "rb")
    frames_out = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return frames_in, frames_out


def _read_frames(source: BinaryIO, requests: queue.SimpleQueue[bytes]) -> None:
    """Runs in a thread of its own, as only the end of the input tells that the node is gone."""
    try:
        while head := source.read(_LENGTH.size):
            (size,) = _LENGTH.unpack(head)
            if size > FRAME_BYTES_MAX:
                break
            requests.put(source.read(size))
    finally:
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()

"""One node of PySyncObj, for comparison: default settings, or journaled and made to sync.

PySyncObj has no setting that syncs before it acknowledges. The synced variant flushes the journal's
memory map whenever entries are added or removed, on the leader before it counts itself and on a
follower before it answers, and syncs the file of term and vote: the promises that ours keeps too.
Removing and adding are calls for one entry each, so nothing can share a sync.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

from pysyncobj import SyncObj, SyncObjConf, replicated
from pysyncobj.journal import FileJournal, MetaStorer

PAYLOAD = bytes(100)


class Log(SyncObj):
    def __init__(self, own: str, others: list[str], conf: SyncObjConf) -> None:
        super().__init__(own, others, conf)
        self.count = 0

    @replicated
    def put(self, data: bytes) -> int:
        self.count += 1
        return self.count


def sync_what_is_promised() -> None:
    add, remove, store = FileJournal.add, FileJournal.deleteEntriesFrom, MetaStorer.storeMeta

    def add_and_flush(self: FileJournal, command: bytes, idx: int, term: int) -> None:
        add(self, command, idx, term)
        self.flush()

    def remove_and_flush(self: FileJournal, first: int) -> None:
        remove(self, first)
        self.flush()

    def store_and_sync(self: MetaStorer, meta: dict[str, Any]) -> None:
        store(self, meta)
        sync(self.getPath(), os.O_RDONLY)
        sync(os.path.dirname(self.getPath()), os.O_RDONLY | os.O_DIRECTORY)

    FileJournal.add = add_and_flush
    FileJournal.deleteEntriesFrom = remove_and_flush
    MetaStorer.storeMeta = store_and_sync


def sync(path: str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load(log: Log, window: int, seconds: float) -> dict[str, Any]:
    """Keep `window` proposals outstanding; callbacks run in PySyncObj's own thread."""
    latencies: list[float] = []
    idle = threading.Event()
    end = time.monotonic() + seconds
    outstanding = window
    lock = threading.Lock()

    def propose() -> None:
        start = time.monotonic()

        def done(result: object, error: object) -> None:
            nonlocal outstanding
            now = time.monotonic()
            if error == 0:
                latencies.append(now - start)
            if now < end:
                propose()
                return
            with lock:
                outstanding -= 1
                if outstanding == 0:
                    idle.set()

        log.put(PAYLOAD, callback=done)

    began = time.monotonic()
    for _ in range(window):
        propose()
    idle.wait(seconds + 60)
    return {"operations": len(latencies), "seconds": time.monotonic() - began}


def main() -> None:
    settings = json.loads(sys.argv[1])
    options: dict[str, Any] = {"autoTick": True}
    if settings["synced"]:
        sync_what_is_promised()
        options["journalFile"] = f"{settings['directory']}/journal"
    own = settings["addresses"][settings["number"]]
    others = [address for address in settings["addresses"] if address != own]
    log = Log(own, others, SyncObjConf(**options))
    print(json.dumps({"ready": own}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "leads":
            leader = log._getLeader()  # noqa: SLF001 - it tells in no other way
            answer = {"leads": leader is not None and leader.address == own}
        else:
            answer = load(log, request["window"], request["seconds"])
        print(json.dumps(answer), flush=True)
    log.destroy()


if __name__ == "__main__":
    main()

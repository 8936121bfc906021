"""Real worker processes behind their pipes."""

from __future__ import annotations

import os
from pathlib import Path

from peerdisco.host.processes import LOG_BYTES_MAX, LOG_TAIL_BYTES, HostProcesses


async def test_a_worker_answers_frames_and_ends_when_its_input_closes(tmp_path: Path) -> None:
    process = await HostProcesses(tmp_path).start_worker()
    await process.send(b"not a request")
    answer = await process.receive()
    assert answer is not None
    assert b"not" in answer
    process.kill()
    assert await process.receive() is None
    assert await process.wait() == -9
    assert process.log_tail() == ""


async def test_killing_a_worker_twice_or_after_its_end_is_no_error(tmp_path: Path) -> None:
    process = await HostProcesses(tmp_path).start_worker()
    process.kill()
    process.kill()
    await process.wait()
    process.kill()


async def test_the_log_of_a_worker_is_not_seen_in_the_data_directory(tmp_path: Path) -> None:
    process = await HostProcesses(tmp_path).start_worker()
    assert os.listdir(tmp_path) == []
    process.kill()
    await process.wait()


async def test_what_a_worker_prints_fills_no_disk(tmp_path: Path) -> None:
    process = await HostProcesses(tmp_path).start_worker()
    log = process._log.fileno()
    os.write(log, b"x" * LOG_BYTES_MAX + b"the last words\n")
    await process.send(b"not a request")
    assert await process.receive() is not None
    assert os.fstat(log).st_size <= LOG_TAIL_BYTES
    os.write(log, b"and more\n")
    assert process.log_tail().endswith("xthe last words\nand more\n")
    process.kill()
    await process.wait()

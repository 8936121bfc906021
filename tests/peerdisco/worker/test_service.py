"""One frame in, frames out: progress, printed lines, packs, and nonsense."""

from __future__ import annotations

import sys
from typing import Any

from peerdisco.messages import ErrorKind, Failed
from peerdisco.worker.functions import PACKS_MAX
from peerdisco.worker.messages import LOG_LINES_MAX, Completed, decode_response


def entries(entry: Any, params: Any) -> Any:
    yield entry, 1


def test_nonsense_is_answered_with_a_failure(bench: Any) -> None:
    [frame] = bench.service.handle(b"nonsense")
    response = decode_response(frame)
    assert isinstance(response, Completed)
    assert isinstance(response.outcome, Failed)
    assert response.outcome.error.kind is ErrorKind.NODE


def test_progress_comes_now_and_then_and_only_grows(bench: Any) -> None:
    outcome = bench.map({"map": entries}, bench.text("x\n" * 600_000))
    assert 1 <= len(bench.progress) <= 10
    assert 0 < bench.progress[0].records_in <= outcome.records_in == 600_000
    assert bench.progress == sorted(bench.progress, key=lambda frame: frame.records_out)


def test_what_functions_print_is_captured_as_lines(bench: Any) -> None:
    def printing(line: str, params: Any) -> Any:
        print("reading", line.strip())
        print("careful", file=sys.stderr)
        sys.stdout.write("unfinished")
        return []

    outside = sys.stdout
    bench.map({"map": printing}, bench.text("a\n"))
    assert ["reading a", "careful", "unfinished"] == bench.log
    assert sys.stdout is outside


def test_too_many_printed_lines_are_counted_instead_of_kept(bench: Any) -> None:
    def chattering(line: str, params: Any) -> Any:
        for number in range(LOG_LINES_MAX + 50):
            print("x" * 5000, number)
        return []

    bench.map({"map": chattering}, bench.text("a\n"))
    assert len(bench.log) == LOG_LINES_MAX + 1
    assert "(50 more lines" in bench.log[-1]
    assert max(map(len, bench.log)) <= 2000


def test_output_goes_on_being_captured_after_a_failure(bench: Any) -> None:
    def raising(line: str, params: Any) -> Any:
        print("before")
        raise ValueError(line)

    bench.fail("map", {"map": raising}, bench.text("a\n"))
    assert bench.log == ["before"]


def test_a_pack_is_unpickled_once_while_it_is_in_use(bench: Any) -> None:
    def counting(line: str, params: Any) -> Any:
        counting.calls = getattr(counting, "calls", 0) + 1  # type: ignore[attr-defined]  # on purpose
        yield counting.calls, 1  # type: ignore[attr-defined]  # on purpose

    pack, other = bench.pack({"map": counting}), bench.pack({"map": entries})

    def run(name: str) -> Any:
        request = bench.request(name, "map", [bench.text("x\n")], final=True)
        return bench.records(bench.run(request))

    assert [[(1, 1)], [(2, 1)]] == [run(pack), run(pack)]
    for _ in range(PACKS_MAX):
        run(bench.pack({"map": entries}))
    run(other)
    assert [(1, 1)] == run(pack)


def test_a_pack_that_is_none_is_refused(bench: Any) -> None:
    (bench.root / "text-as-pack").write_text("to be or not to be")
    outcome = bench.run(bench.request("text-as-pack", "map", []))
    assert (ErrorKind.USER, "not a job pack") == (outcome.error.kind, outcome.error.message)


def test_functions_that_cannot_be_loaded_here_are_explained(bench: Any) -> None:
    class Elsewhere:
        def __reduce__(self) -> tuple[Any, ...]:
            return __import__, ("module_only_on_the_client",)

    outcome = bench.run(bench.request(bench.pack({"map": Elsewhere()}), "map", []))
    assert outcome.error.kind is ErrorKind.USER
    assert "No module named 'module_only_on_the_client'" in outcome.error.message
    assert "must be installed on the nodes" in outcome.error.message


def test_another_pythons_pack_is_left_to_other_nodes(bench: Any) -> None:
    data = (bench.root / bench.pack({"map": entries})).read_bytes()
    from peerdisco.jobpack import PYTHON

    (bench.root / "foreign").write_bytes(data.replace(PYTHON.encode(), b"3.99"))
    outcome = bench.run(bench.request("foreign", "map", []))
    assert outcome.error.kind is ErrorKind.NODE
    assert "3.99" in outcome.error.message


def test_cpu_seconds_are_reported_by_the_injected_clock(bench: Any) -> None:
    from peerdisco.worker.local_files import LocalFiles
    from peerdisco.worker.service import Service

    ticks = iter([10.0, 12.5])
    bench.service = Service(LocalFiles(bench.root), cpu_clock=lambda: next(ticks))
    assert bench.map({"map": entries}, bench.text("a\n")).cpu_s == 2.5

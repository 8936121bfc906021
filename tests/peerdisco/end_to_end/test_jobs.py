"""What a program may ask of `Job`, on three real nodes."""

from __future__ import annotations

import http.server
import io
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

from peerdisco import DDFS, Job, JobError, NotFound, jobpack, result_iterator
from peerdisco.client import Cluster
from peerdisco.demo.nodes import DaemonProcess
from peerdisco.messages import Grouping, JobSpec, Stage

if TYPE_CHECKING:
    from tests.peerdisco.end_to_end.conftest import CommandLine

pytestmark = pytest.mark.slow

Connect = Callable[[DaemonProcess], Cluster]
TEXT = "the cat and the dog\nand the bird\n" * 50
COUNTS = {"the": 150, "cat": 50, "and": 100, "dog": 50, "bird": 50}
WAIT_S = 60


def words(line: str, params: object) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def count(records: Iterable[tuple[str, int]], params: object) -> Iterator[tuple[str, int]]:
    from peerdisco.util import kvgroup

    for word, ones in kvgroup(sorted(records)):
        yield word, sum(ones)


def results(job: Job) -> list[tuple[Any, Any]]:
    return list(result_iterator(job.wait(timeout=WAIT_S)))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "text").write_text(TEXT)
    return tmp_path / "text"


@contextmanager
def web_server(content: bytes) -> Iterator[str]:
    """Serves one thing over plain HTTP."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/text"
        finally:
            server.shutdown()
            thread.join()


def test_an_input_may_stand_in_every_place(cluster: Cluster, text: Path) -> None:
    DDFS(cluster).chunk("places:text", [str(text)])
    with web_server(TEXT.encode()) as url:
        for source in (
            str(text),
            text,
            "places:text",
            "tag://places:text",
            f"file://{text}",
            url,
            [f"file://{text}.gone", f"file://{text}"],
        ):
            job = Job("places", cluster).run(input=[source], map=words, reduce=count, partitions=2)
            assert COUNTS == dict(results(job)), source
        raw = Job("raw", cluster).run(input=["raw://the cat", "raw://the"], map=words, reduce=count)
        assert {"the": 2, "cat": 1} == dict(results(raw))


class WordLengths(Job):
    """Everything as attributes of the class; methods that know their job."""

    partitions = 3
    params: dict[str, int] = {"least": 4}  # noqa: RUF012 - as users write it
    factor = 10

    def map(self, line: str, params: dict[str, int]) -> Iterator[tuple[int, int]]:
        for word in line.split():
            if len(word) >= params["least"]:
                yield len(word), self.factor

    @staticmethod
    def combiner(
        key: int, value: int, buffer: dict[int, int], done: bool, params: object
    ) -> Iterator[tuple[int, int]] | None:
        if done:
            return iter(buffer.items())
        buffer[key] = buffer.get(key, 0) + value
        return None

    @staticmethod
    def partition(key: int, partitions: int, params: object) -> int:
        return key % partitions

    @staticmethod
    def reduce(records: Iterable[tuple[int, int]], out: Any, params: object) -> None:
        totals: dict[int, int] = {}
        for key, value in records:
            totals[key] = totals.get(key, 0) + value
        for key, value in totals.items():
            out.add(key, value)


def test_a_subclass_brings_functions_and_settings(cluster: Cluster) -> None:
    job = WordLengths(peer=cluster).run(input=["raw://one three seven", "raw://eleven"])
    assert job.name.startswith("WordLengths@")
    assert {5: 20, 6: 10} == dict(results(job))
    stages = {stage.name: stage.done for stage in job.status().stages}
    assert {"map": 2, "reduce": 2} == stages


def whole(file: IO[bytes], size: int, url: str, params: object) -> Iterator[tuple[int, str]]:
    yield len(file.read()), url


def test_a_map_reader_gets_files_whole(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 4096)
    job = Job("whole", cluster).run(
        input=[str(tmp_path / "binary")],
        map=lambda entry, params: [(entry[0], entry[1][:8])],
        map_reader=whole,
    )
    assert [(1 << 20, "blob:b3-")] == results(job)


def test_sort_params_and_initialisers(cluster: Cluster) -> None:
    def start(_: object, params: dict[str, int]) -> None:
        params["seen"] = 100

    def number(line: str, params: dict[str, int]) -> Iterator[tuple[str, int]]:
        for word in line.split():
            params["seen"] += 1
            yield word, params["seen"]

    job = Job("sorted", cluster).run(
        input=["raw://c a b"],
        map=number,
        map_init=start,
        reduce=lambda records, params: records,
        sort=True,
        params={},
    )
    assert [("a", 102), ("b", 103), ("c", 101)] == results(job)


def test_closures_lambdas_and_prints_are_fine(cluster: Cluster) -> None:
    factor = 7

    def loud(line: str, params: object) -> Iterator[tuple[str, int]]:
        print("a line on standard output", line)
        print("and one on standard error", file=sys.stderr)
        yield line, factor

    job = Job("loud", cluster).run(input=["raw://x"], map=loud)
    assert [("x", 7)] == results(job)
    lazy = Job("lazy", cluster).run(input=["raw://x"], map=lambda line, _: [(line, factor)])
    assert [("x", 7)] == results(lazy)


def test_a_job_without_inputs_is_done_at_once(cluster: Cluster) -> None:
    assert [] == results(Job("empty", cluster).run(input=[], map=words, reduce=count))


def test_results_come_through_any_node(
    three: list[DaemonProcess], text: Path, connect_to: Connect
) -> None:
    job = Job("anywhere", connect_to(three[0])).run(
        input=[str(text)], map=words, reduce=count, partitions=4
    )
    for node in reversed(three):
        elsewhere = Job(job.name, connect_to(node))
        assert COUNTS == dict(results(elsewhere))
        assert "ready" == elsewhere.results()[0]


def test_progress_is_shown_until_the_end(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Job("shown", cluster).run(input=["raw://x"], map=words)
    job.wait(show=True, timeout=WAIT_S)
    captured = capsys.readouterr()
    assert "ready" in (captured.out + captured.err).lower()
    told = [text for _, (_, _, text) in job.events()]
    assert any("READY" in line for line in told)


def test_a_submission_repeated_at_another_node_is_one_job(
    three: list[DaemonProcess], connect_to: Connect
) -> None:
    spec = JobSpec(
        name="twice@1:2:3",
        owner="somebody",
        stages=(Stage("map", Grouping.SPLIT),),
        inputs=(("raw://x",),),
        partitions=1,
        python=jobpack.PYTHON,
        submitted_at=time.time(),
        save_results=False,
    )
    pack = jobpack.build(spec, {"map": words})
    assert {"twice@1:2:3"} == {connect_to(node).submit(pack) for node in three}
    assert [("x", 1)] == results(Job("twice@1:2:3", connect_to(three[2])))
    everywhere = [job.name for job in connect_to(three[1]).all_jobs("twice")]
    assert ["twice@1:2:3"] == everywhere
    told = [text for _, (_, _, text) in Job("twice@1:2:3", connect_to(three[1])).events()]
    assert 1 == sum("assigned" in line for line in told)


def test_kill_stops_and_purge_forgets_a_job_with_its_inputs_and_results(
    three: list[DaemonProcess], text: Path, connect_to: Connect
) -> None:
    def slow(line: str, params: object) -> Iterator[tuple[str, int]]:
        time.sleep(60)
        yield line, 1

    cluster = connect_to(three[0])
    job = Job("killed", cluster).run(input=["raw://x"], map=slow)
    job.kill()
    with pytest.raises(JobError, match="it was killed"):
        job.wait(timeout=WAIT_S)

    done = Job("purged", cluster).run(input=[str(text)], map=words, reduce=count, save=True)
    done.wait(timeout=WAIT_S)
    files = DDFS(cluster)
    assert files.exists(f"disco:input:{done.name}")
    assert files.exists(f"disco:results:{done.name}")
    Job(done.name, connect_to(three[1])).purge()
    assert [f"disco:results:{done.name}"] == [name for name in files.list() if done.name in name]
    assert COUNTS == dict(result_iterator([f"tag://disco:results:{done.name}"], peer=cluster))
    with pytest.raises(NotFound):
        Job(done.name, connect_to(three[2])).status()


def test_purge_takes_the_bytes_of_inputs_and_results_unless_somebody_else_names_them(
    three: list[DaemonProcess], text: Path, connect_to: Connect
) -> None:
    cluster = connect_to(three[0])
    words_of_its_own = "unlike any other text\n" + text.read_text()
    (text.parent / "own.txt").write_text(words_of_its_own)
    job = Job("bytes", cluster).run(
        input=[str(text.parent / "own.txt")], map=words, reduce=count, partitions=2
    )
    results = job.wait(timeout=WAIT_S)
    files = DDFS(cluster)
    inputs = [url for replicas in files.urls(f"disco:input:{job.name}") for url in replicas]
    kept, lost = (url.removeprefix("blob:") for (url,) in results)
    files.tag("kept:results", [f"blob:{kept}"])
    job.purge()
    elsewhere = connect_to(three[1])
    for blob in (lost, *(url.removeprefix("blob:") for url in inputs)):
        with pytest.raises(NotFound), elsewhere.open_blob(blob) as file:
            file.read()
    with elsewhere.open_blob(kept) as file:
        assert file.read()


def test_the_command_line_runs_a_program_with_a_module_beside_it(
    three: list[DaemonProcess], text: Path, peerdisco: CommandLine
) -> None:
    (text.parent / "beside_it.py").write_text("def cut(line):\n    return line.upper().split()\n")
    (text.parent / "program.py").write_text(
        "import beside_it\n\n"
        "def map(line, params):\n"
        "    for word in beside_it.cut(line):\n"
        "        yield word, 1\n\n"
        "def reduce(iter, params):\n"
        "    from peerdisco.util import kvgroup\n"
        "    for word, ones in kvgroup(sorted(iter)):\n"
        "        yield word, sum(ones)\n"
    )
    program, peer = str(text.parent / "program.py"), three[0].http
    name = peerdisco.json("job", "submit", program, str(text), "--partitions", "2", peer=peer)[
        "name"
    ]
    assert name.startswith("program@")
    urls = peerdisco.json("job", "wait", name, peer=three[1].http)
    assert 2 == len(urls)
    assert urls == peerdisco.json("job", "results", name, peer=three[2].http)
    lines = peerdisco("job", "results", name, "--records", peer=peer).stdout.splitlines()
    assert {f"{word.upper()}\t{number}" for word, number in COUNTS.items()} == set(lines)
    shown = peerdisco.json("job", "show", name, peer=peer)
    assert ("ready", name) == (shown["state"], shown["name"])
    assert name in [job["name"] for job in peerdisco.json("job", "list", peer=peer)]
    assert "ready" in peerdisco("job", "show", name, peer=peer).stdout
    assert {"purged": name} == peerdisco.json("job", "purge", name, peer=peer)
    assert name not in peerdisco("job", "list", peer=three[1].http).stdout


def test_an_open_file_is_as_good_as_its_name(cluster: Cluster) -> None:
    DDFS(cluster).push("opened:file", [io.BytesIO(b"one two\nthree\n")])
    job = Job("opened", cluster).run(input=["opened:file"], map=words)
    assert {"one", "two", "three"} == {word for word, _ in results(job)}

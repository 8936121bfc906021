"""Jobs through the client, against a backend that runs them in place."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from peerdisco.client import (
    BadInput,
    BadJob,
    Cluster,
    Job,
    JobError,
    NotFound,
    TimedOut,
    result_iterator,
)
from peerdisco.client.job import pipeline
from peerdisco.client.names import unique_job_name
from peerdisco.client.results import ResultUrls
from peerdisco.dataflow import UnsafeRecord
from peerdisco.errors import PeerdiscoError
from peerdisco_webui.messages import JobState, StageView

if TYPE_CHECKING:
    from tests.webui.backend import Backend, Servers


def count_words(line: str, params: Any) -> Any:
    for word in line.split():
        yield word, 1


def add_up(pairs: Any, params: Any) -> Any:
    from peerdisco.util import kvgroup

    for word, counts in kvgroup(sorted(pairs)):
        yield word, sum(counts)


def test_the_main_thing(cluster: Cluster, tmp_path: Path, backend: Backend) -> None:
    text = tmp_path / "text"
    text.write_text("to be or\nnot to be\n")
    job = Job(peer=cluster).run(input=[str(text)], map=count_words, reduce=add_up)
    assert dict(result_iterator(job.wait())) == {"to": 2, "be": 2, "or": 1, "not": 1}
    assert dict(result_iterator(job)) == dict(result_iterator(job.wait()))
    assert f"disco:input:{job.name}" in backend.files.tags
    assert job.status().state is JobState.READY
    assert job.results()[0] == "ready"
    assert job.jobinfo()["pipeline"][0] == ["map", 0, 0, 0, 1, 0]
    assert [offset for offset, _ in job.events(1)] == [2, 3]


class WordCount(Job):
    partitions = 1
    input = ("raw://a b a",)

    def map(self, line: str, params: Any) -> Any:
        return count_words(line, params)

    reduce = staticmethod(add_up)


def test_attributes_of_a_class_are_its_parameters(cluster: Cluster) -> None:
    job = WordCount(peer=cluster).run()
    assert job.name.startswith("WordCount@")
    assert sorted(result_iterator(job.wait())) == [("a", 2), ("b", 1)]
    again = WordCount("other", cluster).run(input=["raw://c"], reduce=None)
    assert list(result_iterator(again.wait())) == [("c", 1)]


def test_a_tag_and_a_file_are_found_and_nothing_else(
    cluster: Cluster, tmp_path: Path, backend: Backend
) -> None:
    blob = cluster.put_blob(b"x y\n")
    cluster.append("words", [[blob.url]])
    job = Job(peer=cluster).run(input=["words", [blob.url]], map=count_words)
    assert len(list(result_iterator(job.wait()))) == 4
    with pytest.raises(BadInput, match=r"neither a file on this machine .*nowhere.*nor a tag"):
        Job(peer=cluster).run(input=["nowhere"], map=count_words)
    with pytest.raises(BadInput, match="is a directory"):
        Job(peer=cluster).run(input=[str(tmp_path)], map=count_words)
    with pytest.raises(BadInput, match="URLs of replicas"):
        Job(peer=cluster).run(input=[["words"]], map=count_words)
    with pytest.raises(BadInput, match="list of names"):
        Job(peer=cluster).run(input=3, map=count_words)  # type: ignore[arg-type]  # the mistake
    assert len(backend.jobs.jobs) == 1


def test_inputs_keep_their_order_and_readers_get_whole_files(
    cluster: Cluster, tmp_path: Path, backend: Backend
) -> None:
    backend.jobs.runs_jobs = False
    big = tmp_path / "big"
    big.write_bytes(b"0123456789abcde\n" * (3 << 16))
    job = Job(peer=cluster).run(input=["raw://first", big, "raw://last"], map=count_words)
    assert backend.jobs.jobs[job.name].inputs == 2 + 3
    plain = Job(peer=cluster).run(
        input=[big], map=count_words, map_reader=lambda fd, size, url, params: fd
    )
    assert backend.jobs.jobs[plain.name].inputs == 1


def test_a_dead_job_shows_the_traceback_of_the_user(cluster: Cluster) -> None:
    def fails(line: str, params: Any) -> Any:
        raise ValueError("bad line")

    job = Job(peer=cluster).run(input=["raw://x"], map=fails)
    with pytest.raises(JobError) as caught:
        job.wait()
    text = str(caught.value)
    assert caught.value.exit_code == 3
    for part in (f"Job {job.name} failed", "bad line", "map task 0 on node node-b", "record 7 of"):
        assert part in text
    assert text.rstrip().endswith("ValueError('bad line')")


def test_a_killed_job_says_so_and_a_purged_one_is_gone(cluster: Cluster, backend: Backend) -> None:
    backend.jobs.runs_jobs = False
    job = Job(peer=cluster).run(input=["raw://x"], map=count_words)
    with pytest.raises(TimedOut, match="still runs") as caught:
        job.wait(timeout=0.05)
    assert caught.value.exit_code == 5
    job.kill()
    with pytest.raises(JobError, match="killed"):
        job.wait()
    job.purge()
    with pytest.raises(NotFound):
        Job(job.name, cluster).status()


def test_waiting_survives_the_node_that_answers(
    cluster: Cluster, backend: Backend, servers: Servers
) -> None:
    backend.jobs.runs_jobs = False
    job = Job(peer=cluster).run(input=["raw://x"], map=count_words)
    blob = backend.files.add(b"")
    waited: list[Any] = []
    waiter = threading.Thread(target=lambda: waited.append(job.wait(poll_interval=0.5)))
    waiter.start()
    servers.stop(0)
    servers.do(lambda: backend.jobs.change(job.name, state=JobState.READY, results=((blob.url,),)))
    waiter.join()
    assert waited == [[[blob.url]]]


def test_submitting_again_is_the_same_job(cluster: Cluster, backend: Backend) -> None:
    job = Job(peer=cluster).run(input=["raw://x"], map=count_words)
    assert cluster.submit(backend.jobs.packs[job.name]) == job.name
    assert (backend.jobs.submissions, len(backend.jobs.jobs)) == (2, 1)


def test_what_cannot_be_sent_is_refused_before_anything_is_pushed(
    cluster: Cluster, tmp_path: Path, backend: Backend
) -> None:
    lock = threading.Lock()

    def locked(line: str, params: Any) -> Any:
        with lock:
            yield line, 1

    text = tmp_path / "text"
    text.write_text("x\n")
    with pytest.raises(BadJob, match="map function"):
        Job(peer=cluster).run(input=[text], map=locked)
    assert not backend.files.blobs
    bad: list[dict[str, Any]] = [{"partitions": -1}, {"partitions": 1.5}, {"map": None}]
    for arguments in bad:
        with pytest.raises(BadJob):
            Job(peer=cluster).run(**{"input": ["raw://x"], "map": count_words, **arguments})
    with pytest.raises(BadJob, match="a/b"):
        Job("a/b", cluster).run(input=["raw://x"], map=count_words)


@pytest.mark.parametrize(
    ("mapping", "reducing", "partitions", "stages"),
    [
        (True, False, 1, [("map", "split")]),
        (True, True, 1, [("map", "split"), ("reduce", "group_all")]),
        (True, True, None, [("map", "split"), ("reduce", "group_all")]),
        (True, True, 4, [("map", "split"), ("reduce", "group_label")]),
        (False, True, 4, [("reduce", "group_all")]),
    ],
)
def test_pipelines(
    mapping: bool, reducing: bool, partitions: int | None, stages: list[tuple[str, str]]
) -> None:
    arguments = {
        "map": count_words if mapping else None,
        "reduce": add_up if reducing else None,
        "partitions": partitions,
    }
    assert [(stage.name, stage.grouping.value) for stage in pipeline(arguments)] == stages


def test_names_are_unique_and_in_the_form_of_disco() -> None:
    names = {unique_job_name("Job") for _ in range(1000)}
    assert len(names) == 1000
    prefix, _, rest = names.pop().partition("@")
    assert prefix == "Job"
    assert [int(part, 16) > 0 for part in rest.split(":")] == [True] * 3


def test_the_result_iterator_calls_the_notifier_and_the_reader(
    cluster: Cluster, records: Any
) -> None:
    one = cluster.put_blob(records([("a", 1)]))
    two = cluster.put_blob(b"x\ny\n")
    seen: list[list[str]] = []
    urls = ResultUrls([[one.url]], cluster)
    assert list(result_iterator(urls, notifier=seen.append)) == [("a", 1)]
    assert seen == [[one.url]]
    lines = result_iterator([two.url], peer=cluster, reader=lambda file, size, url: file)
    assert list(lines) == [b"x\n", b"y\n"]
    with pytest.raises(PeerdiscoError, match="not a record stream"):
        list(result_iterator([two.url], peer=cluster))


def test_replicas_are_tried_in_turn_without_repeating_a_record(
    cluster: Cluster, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(b"1\n2\n3\n")
    bad.write_bytes(b"1\n2\nrotten\n")

    def reader(file: Any, size: int, url: str) -> Any:
        for line in file:
            yield int(line)

    missing = f"file://{tmp_path}/missing"
    urls = [[missing, f"file://{bad}", f"file://{good}"]]
    assert list(result_iterator(urls, peer=cluster, reader=reader)) == [1, 2, 3]
    with pytest.raises(PeerdiscoError, match="no replica"):
        list(result_iterator([[missing, f"file://{bad}"]], peer=cluster, reader=reader))
    with pytest.raises(PeerdiscoError, match="cannot be read here"):
        list(result_iterator(["ftp://x"], peer=cluster))


class Custom:
    pass


def test_results_are_read_without_trust_unless_told(cluster: Cluster, records: Any) -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        blob = cluster.put_blob(records([("a", Custom())]))
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    with pytest.raises(PeerdiscoError, match="trusted=True") as caught:
        list(result_iterator([blob.url], peer=cluster))
    assert isinstance(caught.value.__cause__, UnsafeRecord)
    [(key, value)] = result_iterator([blob.url], peer=cluster, trusted=True)
    assert (key, type(value).__name__) == ("a", "Custom")


def test_progress_is_one_line_for_each_change(
    cluster: Cluster, backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Job(peer=cluster).run(input=["raw://x"], map=count_words)
    job.wait(show=True)
    assert capsys.readouterr().err == f"{job.name}\nStatus: ready\n"
    backend.jobs.jobs[job.name] = backend.jobs.jobs[job.name].__class__(
        name=job.name,
        owner="",
        state=JobState.ACTIVE,
        stages=(StageView(name="map", pending=1, running=2, done=3, failed=1),),
        version=9,
    )
    with pytest.raises(TimedOut):
        job.wait(show="nocolor", timeout=0.01)
    assert "Status: [map] 1 pending, 0 waiting, 2 running, 3 done, 1 failed\n" in (
        capsys.readouterr().err
    )
    with pytest.raises(TimedOut):
        job.wait(show="json", timeout=0.01)
    assert capsys.readouterr().out.startswith('{"name":"Job@')


def test_a_job_travels_without_its_connections(cluster: Cluster) -> None:
    job = WordCount(peer=cluster)
    assert job.cluster is cluster
    assert cloudpickle.loads(cloudpickle.dumps(job))._peer is None

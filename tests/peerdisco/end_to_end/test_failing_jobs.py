"""A job that cannot work says why, where, and at which record; the cluster goes on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from peerdisco import BadInput, BadJob, Job, JobError, NotFound, Refused, jobpack
from peerdisco.client import Cluster
from peerdisco.demo.nodes import DaemonProcess
from peerdisco.messages import Grouping, JobSpec, Stage

if TYPE_CHECKING:
    from tests.peerdisco.end_to_end.conftest import CommandLine

pytestmark = pytest.mark.slow

JOB_FAILED = 3
WAIT_S = 60


def words(line: str, params: object) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def failure(cluster: Cluster, **arguments: Any) -> JobError:
    """How a job dies."""
    job = Job("failing", cluster).run(**arguments)
    with pytest.raises(JobError) as caught:
        job.wait(timeout=WAIT_S)
    return caught.value


def test_a_map_that_raises_is_told_with_frames_node_input_and_record(
    cluster: Cluster, tmp_path: Path
) -> None:
    def poisoned(line: str, params: object) -> Iterator[tuple[str, int]]:
        yield checked(line), 1

    def checked(line: str) -> str:
        if line.startswith("poison"):
            raise ValueError(f"cannot digest {line!r}")
        return line

    text = tmp_path / "text"
    text.write_text("good\ngood\npoison here\ngood\n")
    error = failure(cluster, input=[str(text)], map=poisoned)
    told = str(error)
    assert "ValueError: cannot digest 'poison here" in told
    assert f'File "{__file__}"' in told
    assert "in poisoned" in told
    assert "in checked" in told
    assert "peerdisco worker" in told
    assert error.error is not None
    assert 2 == error.error.record
    assert error.error.input.startswith(f"{text} (blob:b3-")
    assert error.error.node in ("node-1", "node-2", "node-3")
    assert f"on node {error.error.node}" in told
    assert f"at record 2 of {error.error.input}" in told


def test_a_reduce_that_raises_is_told_with_frames_and_node(cluster: Cluster) -> None:
    def reduce(records: Iterator[Any], params: object) -> Iterator[tuple[str, int]]:
        raise KeyError("missing")
        yield "", 0

    told = str(failure(cluster, input=["raw://x"], map=words, reduce=reduce))
    assert "KeyError: 'missing'" in told
    assert "in reduce" in told
    assert "reduce task 0" in told


def exits(line: str, params: object) -> None:
    os._exit(3)


def crashes(line: str, params: object) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.parametrize(
    ("kills", "epitaph"),
    [(exits, "ended with status 3"), (crashes, "was killed by SIGSEGV")],
)
def test_a_map_that_kills_its_worker_is_named_with_its_input(
    cluster: Cluster, kills: Callable[..., Any], epitaph: str
) -> None:
    error = failure(cluster, input=["raw://x"], map=kills)
    assert f"the worker process {epitaph}" in str(error)
    assert error.error is not None
    assert "raw://x" == error.error.input


def leaves(line: str, params: object) -> None:
    raise SystemExit(4)


def not_pairs(line: str, params: object) -> list[int]:
    return [1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"map": leaves}, "SystemExit: 4"),
        ({"map": not_pairs}, "a record must be a pair (key, value), not 1"),
        ({"map": not_pairs}, "at raw://x"),
        ({"map": words, "input": ["file:///no/such/file"]}, "No such file or directory"),
        ({"map": words, "input": ["gopher://x"]}, "inputs of this kind cannot be read"),
        ({"map": words, "input": ["tag://no:such:tag"]}, "there is no tag 'no:such:tag'"),
        ({"map": words, "input": ["http://127.0.0.1:1/x"]}, "http://127.0.0.1:1/x"),
        ({"map": words, "input": ["blob:b3-" + "0" * 64]}, "blob:b3-" + "0" * 64),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_failures_are_told_in_words(
    cluster: Cluster, arguments: dict[str, Any], told: str
) -> None:
    assert told in str(failure(cluster, **{"input": ["raw://x"], **arguments}))


def test_what_cannot_be_sent_is_refused_before_anything_is(cluster: Cluster) -> None:
    lock = threading.Lock()

    def locked(line: str, params: object) -> Iterator[tuple[str, int]]:
        with lock:
            yield line, 1

    before = [job.name for job in cluster.all_jobs()]
    with pytest.raises(BadJob, match=r"map function cannot be sent.*'lock'.*_thread\.lock"):
        Job("unsent", cluster).run(input=["raw://x"], map=locked)
    with pytest.raises(BadJob, match="params cannot be sent"):
        Job("unsent", cluster).run(input=["raw://x"], map=words, params=lock)
    with pytest.raises(BadJob, match="needs a map or a reduce"):
        Job("unsent", cluster).run(input=["raw://x"])
    with pytest.raises(BadJob, match="partitions is a whole number"):
        Job("unsent", cluster).run(input=["raw://x"], map=words, partitions="two")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(BadJob, match="a job's name has"):
        Job("not/a name", cluster).run(input=["raw://x"], map=words)
    assert before == [job.name for job in cluster.all_jobs()]


@pytest.mark.parametrize("name", ["no_such_thing", "no/such/file.txt", "nothing.txt", "a b"])
def test_an_input_that_is_nowhere_names_both_places(cluster: Cluster, name: str) -> None:
    with pytest.raises(BadInput) as caught:
        Job("lost", cluster).run(input=[name], map=words)
    assert f"neither a file on this machine ({Path(name).absolute()})" in str(caught.value)
    assert "nor a tag of the cluster" in str(caught.value)


def test_an_input_of_a_wrong_kind_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is a directory"):
        Job("lost", cluster).run(input=[str(tmp_path)], map=words)
    with pytest.raises(BadInput, match="input is a list"):
        Job("lost", cluster).run(input=5, map=words)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(BadInput, match="URLs of replicas"):
        Job("lost", cluster).run(input=[["no scheme"]], map=words)


def test_a_job_of_another_python_is_refused_before_it_is_unpickled(cluster: Cluster) -> None:
    spec = JobSpec(
        name="foreign@1:2:3",
        owner="somebody",
        stages=(Stage("map", Grouping.SPLIT),),
        inputs=(("raw://x",),),
        partitions=1,
        python="3.9",
        submitted_at=0.0,
        save_results=False,
    )
    with pytest.raises(Refused, match=r"made by Python 3\.9, but this node runs Python 3\."):
        cluster.submit(jobpack.build(spec, {"map": words}))
    with pytest.raises(NotFound):
        cluster.job("foreign@1:2:3")


def test_unknown_jobs_are_unknown_everywhere(
    three: list[DaemonProcess], cluster: Cluster, peerdisco: CommandLine
) -> None:
    with pytest.raises(NotFound, match="unknown job 'nobody'"):
        Job("nobody", cluster).wait()
    with pytest.raises(NotFound, match="unknown job 'nobody'"):
        Job("nobody", cluster).kill()
    for command in ("show", "wait", "results", "kill", "purge"):
        done = peerdisco("job", command, "nobody", peer=three[1].http, code=1)
        assert "peerdisco: unknown job 'nobody'" in done.stderr
        assert "" == done.stdout


def test_commands_end_with_the_code_that_says_what_happened(
    three: list[DaemonProcess], cluster: Cluster, peerdisco: CommandLine
) -> None:
    dead = Job("dead", cluster).run(input=["raw://x"], map=leaves)
    done = peerdisco("job", "wait", dead.name, peer=three[2].http, code=JOB_FAILED)
    assert "SystemExit: 4" in done.stderr
    slow = Job("slow", cluster).run(input=["raw://x"], map=lambda line, params: time.sleep(60))
    done = peerdisco("job", "wait", slow.name, "--timeout", "0.2", peer=three[0].http, code=5)
    assert "still runs after 0.2 s" in done.stderr
    slow.kill()
    done = peerdisco("job", "wait", slow.name, peer=three[0].http, code=JOB_FAILED)
    assert "it was killed" in done.stderr
    done = peerdisco("status", peer="127.0.0.1:1", code=4)
    assert "no node answers (127.0.0.1:1: " in done.stderr
    done = peerdisco("status", peer="a:b:c@d", code=2)
    assert "pdc1." in done.stderr
    done = peerdisco("ddfs", "get", "no:such:tag", peer=three[0].http, code=1)
    assert "peerdisco: there is no tag 'no:such:tag'" in done.stderr

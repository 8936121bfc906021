"""`peerdisco ddfs`: Disco's commands, as scripts use them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import Result

from peerdisco.cli.ddfs import ddfs

if TYPE_CHECKING:
    from tests.webui.backend import Backend

Run = Callable[..., Result]
DISCO = (
    "attrs blobs cat chtok chunk cp delattr exists find get getattr ls push put rm setattr stat "
    "tag touch urls xcat"
)


def as_json(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def commands(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    """All commands of a group and of the groups in it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command)
        else:
            yield name, command


def test_all_of_discos_commands_are_there() -> None:
    assert set(DISCO.split()) <= set(ddfs.commands)
    for name, command in commands(ddfs):
        options = {option for parameter in command.params for option in parameter.opts}
        assert "--json" in options, name
        assert command.help, name


def test_tags_are_put_copied_touched_and_found(run: Run) -> None:
    assert run("ddfs", "put", "a", "raw://1", "raw://2").output == "a: 2 entries\n"
    assert run("ddfs", "put", "a", "raw://3", "--if-version", "7").exit_code == 1
    assert (
        as_json(run("ddfs", "put", "a", "raw://3", "--if-version", "1", "--json"))["version"] == 2
    )
    assert run("ddfs", "setattr", "a", "colour", "red").exit_code == 0
    assert run("ddfs", "cp", "a", "b").output == "b: 1 entries\n"
    assert run("ddfs", "attrs", "b").output == ""
    assert run("ddfs", "touch", "a", "c").exit_code == 0
    assert as_json(run("ddfs", "ls", "--json")) == ["a", "b", "c"]
    assert run("ddfs", "ls", "a", "c").output == "a\nc\n"
    assert run("ddfs", "ls", "-r", "a").output == "a\n\traw://3\n"
    run("ddfs", "tag", "c", "tag://a", "tag://c", "tag://gone", "raw://9")
    assert run("ddfs", "blobs", "-p", "c").output == "raw://3\nraw://9\n"
    assert run("ddfs", "blobs", "gone").exit_code == 1
    assert run("ddfs", "blobs", "-i", "gone", "a").output == "raw://3\n"
    found = run("ddfs", "find", "-i", "c")
    assert found.output == (
        "tag://c\n\ttag://a\n\ttag://c\n\ttag://gone\n\traw://9\ntag://a\n\traw://3\ntag://gone\n"
    )
    assert run("ddfs", "find", "c").exit_code == 1
    walked = run("ddfs", "find", "-w", "-i", "c").output.splitlines()
    assert walked == ["tag://c", "tag://c\ttag://a", "tag://c\ttag://gone"]
    assert run("ddfs", "rm", "-p", "a", "b").output == "deleted a\ndeleted b\n"
    assert run("ddfs", "ls").output == "c\n"


def test_a_listing_that_lacks_parts_is_printed_and_fails(run: Run, backend: Backend) -> None:
    run("ddfs", "touch", "a")
    backend.files.missing = 12
    result = run("ddfs", "ls")
    assert result.exit_code == 1
    assert result.stdout == "a\n"
    assert "12 of 4096 parts" in result.stderr


def test_tokens_come_from_the_option_or_the_environment(
    run: Run, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("ddfs", "tag", "t", "raw://x", "-t", "s3cret").exit_code == 0
    denied = run("ddfs", "urls", "t")
    assert (denied.exit_code, denied.stdout) == (1, "")
    assert "read token" in denied.stderr
    assert run("ddfs", "exists", "t").output == "True\n"
    assert run("ddfs", "urls", "t", "--token", "s3cret").output == "raw://x\n"
    assert run("ddfs", "urls", "tag://me:s3cret@anywhere/t").output == "raw://x\n"
    monkeypatch.setenv("DDFS_READ_TOKEN", "s3cret")
    assert run("ddfs", "urls", "t").output == "raw://x\n"
    assert run("ddfs", "tag", "t", "raw://y").exit_code == 1
    monkeypatch.setenv("DDFS_WRITE_TOKEN", "s3cret")
    assert run("ddfs", "tag", "t", "raw://y").exit_code == 0
    assert run("ddfs", "chtok", "t", "-r", "other").exit_code == 0
    assert backend.files.tokens["t"] == {"read": "other", "write": "s3cret"}
    assert run("ddfs", "chtok", "t", input="from a pipe\n").exit_code == 0
    assert backend.files.tokens["t"] == {"read": "from a pipe", "write": "from a pipe"}
    assert run("ddfs", "chtok", "t", "--remove", "-t", "from a pipe").exit_code == 0
    assert backend.files.tokens["t"] == {"read": None, "write": None}
    assert run("ddfs", "chtok", "t", "--remove", "x").exit_code == 2
    refused = run("ddfs", "getattr", "t", "ddfs:read-token")
    assert (refused.exit_code, "hashes" in refused.output) == (1, True)


def test_history_shows_who_changed_what(run: Run) -> None:
    run("ddfs", "tag", "t", "raw://x")
    run("ddfs", "setattr", "t", "colour", "red")
    rows = [line.split("\t") for line in run("ddfs", "history", "t").output.splitlines()]
    assert [row[0] for row in rows] == ["2", "1"]
    assert [row[3] for row in rows] == ["attribute", "append"]
    assert all(row[1].endswith(" UTC") for row in rows)
    assert as_json(run("ddfs", "history", "t", "--json"))["name"] == "t"


def test_inputs_are_pushed_from_directories_and_archives(
    run: Run, tmp_path: Path, backend: Backend
) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    for name in ("d/b", "d/a", "d/e/c"):
        (tmp_path / name).write_text(name)
    assert run("ddfs", "push", "t", str(tmp_path / "d")).exit_code == 1
    assert run("ddfs", "push", "t", "-r", str(tmp_path / "d"), "-E", "/b").exit_code == 0
    assert run("ddfs", "cat", "t").stdout_bytes == b"d/ad/e/c"
    archive = tmp_path / "x.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "d", "d")
    assert run("ddfs", "push", "u", "-x", "-I", "d/e", str(archive)).exit_code == 0
    assert run("ddfs", "cat", "u").stdout_bytes == b"d/e/c"
    assert run("ddfs", "push", "v", "-x", "-z", str(archive)).exit_code == 0
    urls = as_json(run("ddfs", "urls", "v", "--json"))
    stored = [backend.files.blobs[url.removeprefix("blob:")] for [url] in urls]
    assert sorted(map(gzip.decompress, stored)) == [b"d/a", b"d/b", b"d/e/c"]


def test_records_are_chunked_by_a_reader_and_shown_by_xcat(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_reader.py").write_text(
        "def pairs(fd, size, url):\n"
        "    for line in fd:\n"
        "        word, _, number = line.decode().partition('=')\n"
        "        yield word, int(number)\n"
    )
    text = gzip.compress(b"a=1\nb=2\n")
    reader = ("-R", "my_reader:pairs")
    for form in ("zstd", "disco"):
        done = run("ddfs", "chunk", form, "-", *reader, "--format", form, input=text)
        assert done.exit_code == 0, done.output
        assert run("ddfs", "xcat", form).output == "a\t1\nb\t2\n"
    assert run("ddfs", "xcat", "disco", "--json").output == '["a",1]\n["b",2]\n'
    assert run("ddfs", "chunk", "lines", "-", input=text).exit_code == 0
    assert run("ddfs", "cat", "lines").stdout_bytes == b"a=1\nb=2\n"
    assert run("ddfs", "xcat", "lines").output == "a=1\nb=2\n"
    assert run("ddfs", "push", "raw", "-", input=b"c=3\n").exit_code == 0
    assert run("ddfs", "xcat", "raw", *reader).output == "c\t3\n"
    for wrong in ("nowhere:x", "my_reader:nothing", "my_reader", ":"):
        done = run("ddfs", "chunk", "t", "-", "-R", wrong, input=b"")
        assert done.exit_code == 2
        assert "MODULE:FUNCTION" in done.output
    done = run("ddfs", "chunk", "t", "-", "-Z", "0.00001", input=b"x" * 100 + b"\n")
    assert done.exit_code == 2
    assert "the line at byte 0 is longer than 10 bytes" in done.output
    assert run("ddfs", "exists", "t").exit_code == 1


def test_results_of_jobs_are_shown_by_name(run: Run, tmp_path: Path) -> None:
    program = tmp_path / "once.py"
    program.write_text("def map(e, p):\n    yield e, 1\n")
    name = run("job", "submit", str(program), "raw://x", "--wait").output.split()[0]
    assert run("ddfs", "xcat", "-j", name).output == "x\t1\n"
    assert io.BytesIO(run("ddfs", "cat", "-j", name).stdout_bytes).read(3) == b"\x89PD"

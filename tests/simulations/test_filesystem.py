"""What a power cut leaves: never less than was synced, never what was not written."""

from __future__ import annotations

import errno
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerdisco_sim.filesystem import FileSystem, check_path

PATHS = ("a", "b", "d/a", "d/e/b")
paths = st.sampled_from(PATHS)
content = st.binary(min_size=1, max_size=3000)
Step = tuple[str, str, object]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("create"), paths, content),
        st.tuples(st.just("sync"), paths, st.none()),
        st.tuples(st.just("rename"), paths, paths),
        st.tuples(st.just("remove"), paths, st.none()),
        st.tuples(st.just("sync names"), paths, st.none()),
    ),
    max_size=25,
)


def contents(files: FileSystem) -> dict[str, bytes]:
    found = {path: files.file(path) for path in PATHS}
    return {path: bytes(inode.data) for path, inode in found.items() if inode is not None}


def apply(files: FileSystem, step: Step) -> None:
    kind, path, argument = step
    if kind == "create":
        assert isinstance(argument, bytes)
        files.write(files.create(path), 0, argument)
    elif kind == "rename":
        assert isinstance(argument, str)
        if files.file(path) is not None:
            files.rename(path, argument)
    elif kind == "remove":
        files.remove(path)
    elif kind == "sync names":
        files.sync_names()
    elif (inode := files.file(path)) is not None:
        inode.sync()


@given(steps, st.integers(0, 1000))
def test_what_was_synced_survives_exactly(before: list[Step], seed: int) -> None:
    files = FileSystem(random.Random(seed), 1 << 30)
    for step in before:
        apply(files, step)
    for path in contents(files):
        apply(files, ("sync", path, None))
    files.sync_names()
    expected = contents(files)
    files.lose_power()
    assert expected == contents(files)


@given(steps, steps, st.integers(0, 1000))
def test_a_power_cut_leaves_names_as_they_were_at_some_moment_since_the_last_sync(
    before: list[Step], after: list[Step], seed: int
) -> None:
    files = FileSystem(random.Random(seed), 1 << 30)
    for step in before:
        apply(files, step)
    files.sync_names()
    moments = [sorted(contents(files))]
    for step in after:
        if step[0] != "sync names":
            apply(files, step)
            moments.append(sorted(contents(files)))
    files.lose_power()
    assert sorted(contents(files)) in moments


@given(st.lists(content, min_size=1, max_size=8), st.integers(0, 8), st.integers(0, 1000))
def test_bytes_that_survive_are_those_that_were_written_or_zeros(
    chunks: list[bytes], synced: int, seed: int
) -> None:
    files = FileSystem(random.Random(seed), 1 << 30)
    inode = files.create("a")
    files.sync_names()
    for number, chunk in enumerate(chunks):
        files.write(inode, len(inode.data), chunk)
        if number < synced:
            inode.sync()
    written, kept = bytes(inode.data), sum(len(chunk) for chunk in chunks[:synced])
    files.lose_power()
    left = contents(files)["a"]
    assert written[:kept] == left[:kept]
    assert len(left) <= len(written)
    assert all(byte in (0, written[position]) for position, byte in enumerate(left))


@given(steps, st.integers(0, 1000))
def test_the_space_in_use_is_that_of_the_files(before: list[Step], seed: int) -> None:
    files = FileSystem(random.Random(seed), 1 << 20)
    for step in before:
        apply(files, step)
    expected = (1 << 20) - sum(map(len, contents(files).values()))
    assert expected == files.free_bytes
    files.lose_power()
    assert (1 << 20) - sum(map(len, contents(files).values())) == files.free_bytes


def outcomes(prepare: object) -> set[tuple[tuple[str, int], ...]]:
    """Everything that 300 power cuts leave after the same preparation."""
    seen = set()
    for seed in range(300):
        files = FileSystem(random.Random(seed), 1 << 30)
        prepare(files)  # type: ignore[operator]  # a function of the tests
        files.lose_power()
        seen.add(tuple((path, len(data)) for path, data in contents(files).items()))
    return seen


def test_without_a_sync_a_rename_can_leave_an_empty_file_under_the_final_name() -> None:
    def careless(files: FileSystem) -> None:
        files.write(files.create("a"), 0, bytes(2048))
        files.rename("a", "b")
        files.sync_names()

    seen = outcomes(careless)
    assert (("b", 0),) in seen
    assert (("b", 2048),) in seen
    assert any(0 < size < 2048 for ((_, size),) in seen)


def test_without_a_directory_sync_a_rename_can_be_lost_but_the_bytes_are_whole() -> None:
    def forgetful(files: FileSystem) -> None:
        inode = files.create("a")
        files.sync_names()
        files.write(inode, 0, bytes(2048))
        inode.sync()
        files.rename("a", "b")

    assert {(("a", 2048),), (("b", 2048),)} == outcomes(forgetful)


def test_after_a_failed_sync_a_later_one_succeeds_and_the_bytes_are_lost() -> None:
    def stubborn(files: FileSystem) -> None:
        inode = files.create("a")
        files.sync_names()
        files.write(inode, 0, bytes(1000))
        inode.fail_sync()
        inode.sync()

    assert {(("a", 0),)} == outcomes(stubborn)


def test_a_full_disk_takes_what_fits_and_says_so() -> None:
    files = FileSystem(random.Random(1), 1000)
    inode = files.create("a")
    files.write(inode, 0, bytes(900))
    with pytest.raises(OSError, match="No space left") as full:
        files.write(inode, 900, bytes(200))
    assert errno.ENOSPC == full.value.errno
    assert (1000, 0) == (len(inode.data), files.free_bytes)
    files.remove("a")
    assert 1000 == files.free_bytes


def test_rot_flips_one_bit_that_a_power_cut_does_not_heal() -> None:
    files = FileSystem(random.Random(1), 1 << 20)
    inode = files.create("a")
    files.write(inode, 0, bytes(100))
    inode.sync()
    files.sync_names()
    files.rot("a")
    files.lose_power()
    assert 1 == sum(byte.bit_count() for byte in contents(files)["a"])


@pytest.mark.parametrize("path", ["", ".", "/etc/passwd", "../up", "a/../../b", "a\0b"])
def test_a_path_out_of_the_data_directory_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="data directory"):
        check_path(path)

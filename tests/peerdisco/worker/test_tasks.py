"""What the functions of a classic job get, and what becomes of what they yield."""

from __future__ import annotations

import gzip
from collections import Counter
from typing import Any

import pytest

from peerdisco.dataflow import default_partition
from peerdisco.dataflow.records import chain_reader
from peerdisco.util import kvgroup
from peerdisco.worker.messages import InputKind, LocalInput

TEXT = "".join(f"the quick {number % 7} fox {number}\n" for number in range(3000))


def entries(entry: Any, params: Any) -> Any:
    yield entry, 1


def words(line: str, params: Any) -> Any:
    for word in line.split():
        yield word, 1


def total(records: Any, params: Any) -> Any:
    for word, counts in kvgroup(sorted(records)):
        yield word, sum(counts)


def test_the_seed_program_counts_words_exactly(bench: Any) -> None:
    half = TEXT.index("\n", len(TEXT) // 2) + 1
    pieces = [bench.text(TEXT[:half], "one"), bench.text(TEXT[half:], "two")]
    functions = {"map": words, "reduce": total}
    mapped = [bench.map(functions, piece, partitions=3) for piece in pieces]
    counts: dict[str, int] = {}
    for label in range(3):
        segments = [one for outcome in mapped for one in bench.segments(outcome, label)]
        reduced = bench.reduce(functions, *segments, label=label, final=True)
        assert [label] == [output.label for output in reduced.outputs]
        counts.update(bench.records(reduced))
    assert Counter(TEXT.split()) == counts
    assert sum(outcome.records_in for outcome in mapped) == 3000
    assert sum(outcome.records_out for outcome in mapped) == 15000


def test_a_map_gets_lines_with_their_newlines_as_from_an_open_file(bench: Any) -> None:
    lines = bench.text("one\ntwo\r\n\nlast")
    outcome = bench.map({"map": entries}, lines, final=True)
    assert ["one\n", "two\n", "\n", "last"] == [entry for entry, _ in bench.records(outcome)]


def test_bytes_that_are_not_utf8_are_replaced(bench: Any) -> None:
    outcome = bench.map({"map": entries}, bench.text(b"caf\xe9\n"), final=True)
    assert [("caf\ufffd\n", 1)] == bench.records(outcome)


def test_a_raw_input_is_one_entry_without_a_newline(bench: Any) -> None:
    raw = LocalInput("raw://a%20b", InputKind.TEXT, text="a b")
    assert [("a b", 1)] == bench.records(bench.map({"map": entries}, raw, final=True))


def test_a_map_reader_decides_what_an_entry_is(bench: Any) -> None:
    def reader(fd: Any, size: int, url: str, params: Any) -> Any:
        yield from (params["tag"], size, url, *gzip.decompress(fd.read()).split())

    data = gzip.compress(b"x y")
    functions = {"map": entries, "map_reader": reader, "params": {"tag": "t"}}
    outcome = bench.map(functions, bench.text(data), final=True)
    expected = ["t", len(data), "blob:text", b"x", b"y"]
    assert expected == [entry for entry, _ in bench.records(outcome)]


def test_a_map_reader_with_three_arguments_gets_no_params(bench: Any) -> None:
    functions = {"map": entries, "map_reader": lambda fd, size, url: fd.read().split(b",")}
    outcome = bench.map(functions, bench.text("a,b"), final=True)
    assert [b"a", b"b"] == [entry for entry, _ in bench.records(outcome)]


@pytest.mark.parametrize("reader", [None, chain_reader])
def test_results_of_another_job_are_read_as_records(bench: Any, reader: Any) -> None:
    first = bench.map({"map": words}, bench.text("a b"), final=True)
    result = LocalInput("blob:result", InputKind.LINES, first.outputs[0].url)
    functions = {"map": entries} | ({"map_reader": reader} if reader else {})
    outcome = bench.map(functions, result, final=True)
    assert [(("a", 1), 1), (("b", 1), 1)] == bench.records(outcome)


def test_map_init_may_skip_a_header_and_prepare_params(bench: Any) -> None:
    def skip_header(lines: Any, params: Any) -> None:
        params["header"] = next(lines).strip()

    def tagged(line: str, params: Any) -> Any:
        yield params["header"], line.strip()

    functions = {"map": tagged, "map_init": skip_header, "params": {}}
    outcome = bench.map(functions, bench.text("name\nada\n"), final=True)
    assert [("name", "ada")] == bench.records(outcome)


def test_every_task_gets_its_own_copy_of_params(bench: Any) -> None:
    def note(line: str, params: Any) -> Any:
        params.append(line)
        yield len(params), 1

    pack = bench.pack({"map": note, "params": []})
    for _ in range(2):
        outcome = bench.run(bench.request(pack, "map", [bench.text("x\n")], final=True))
        assert [(1, 1)] == bench.records(outcome)


def test_a_combiner_sees_partitioned_records(bench: Any) -> None:
    def combine(key: Any, value: Any, buffer: Any, done: bool, params: Any) -> Any:
        if done:
            return buffer.items()
        buffer[key] = buffer.get(key, 0) + value
        return None

    outcome = bench.map({"map": words, "combiner": combine}, bench.text(TEXT), partitions=2)
    assert Counter(TEXT.split()) == dict(bench.records(outcome))
    for output in outcome.outputs:
        assert {output.label} == {default_partition(key, 2) for key, _ in bench.read(output)}


def test_a_partition_function_places_keys(bench: Any) -> None:
    functions = {"map": words, "partition": lambda key, partitions, params: len(key)}
    outcome = bench.map(functions, bench.text("a bb cc\n"), partitions=9)
    assert [(1, 1), (2, 2)] == [(output.label, output.records) for output in outcome.outputs]


def test_a_map_may_return_a_list_or_nothing_at_all(bench: Any) -> None:
    functions = {"map": lambda line, params: [(line, 1)] if "a" in line else ()}
    assert [("a\n", 1)] == bench.records(
        bench.map(functions, bench.text("a\nb\n"), final=True, partitions=0)
    )


def test_small_memory_spills_and_loses_nothing(bench: Any) -> None:
    outcome = bench.map({"map": words}, bench.text(TEXT), partitions=2, memory=10_000)
    assert Counter(TEXT.split()) == Counter(key for key, _ in bench.records(outcome))
    segments = [one for label in range(2) for one in bench.segments(outcome, label)]
    functions = {"reduce": lambda records, params: records, "sort": True}
    ordered = bench.records(bench.reduce(functions, *segments, memory=10_000, final=True))
    assert sorted(key for key in TEXT.split()) == [key for key, _ in ordered]


def test_sort_brings_equal_keys_together_without_sorting_in_the_reduce(bench: Any) -> None:
    mapped = bench.map({"map": words}, bench.text("b a b\nc a\n"))

    def count(records: Any, params: Any) -> Any:
        return ((key, sum(values)) for key, values in kvgroup(records))

    reduced = bench.reduce({"reduce": count, "sort": True}, *bench.segments(mapped, 0))
    assert [("a", 2), ("b", 2), ("c", 1)] == bench.records(reduced)
    assert (5, 3) == (reduced.records_in, reduced.records_out)


def test_a_reduce_with_three_arguments_writes_through_out(bench: Any) -> None:
    def write(records: Any, out: Any, params: Any) -> None:
        for key, value in records:
            out.add(key, value * params)

    mapped = bench.map({"map": words}, bench.text(TEXT))
    reduced = bench.reduce({"reduce": write, "params": 2}, *bench.segments(mapped, 0))
    assert reduced.records_in == reduced.records_out == 15000
    assert {2} == {value for _, value in bench.records(reduced)}


def test_reduce_init_comes_first(bench: Any) -> None:
    mapped = bench.map({"map": words}, bench.text("a b\n"))
    functions = {
        "reduce": lambda records, params: records,
        "reduce_init": lambda records, params: next(records),
    }
    reduced = bench.reduce(functions, *bench.segments(mapped, 0))
    assert reduced.outputs[0].records == 1


def test_a_reduce_of_nothing_still_runs(bench: Any) -> None:
    functions = {"reduce": lambda records, params: [("count", len(list(records)))]}
    assert [("count", 0)] == bench.records(bench.reduce(functions))


def test_final_outputs_keep_the_order_in_which_they_were_yielded(bench: Any) -> None:
    outcome = bench.map({"map": words}, bench.text("b a b\n"), final=True)
    assert ["b", "a", "b"] == [key for key, _ in bench.records(outcome)]


def pairs_of_text(fd: Any, size: int, url: str) -> Any:
    return (tuple(line.decode().split()) for line in fd)


@pytest.mark.parametrize("sort", [False, True])
def test_a_first_stage_reduce_reads_what_its_reader_yields(bench: Any, sort: bool) -> None:
    functions = {
        "reduce": lambda records, params: records,
        "reduce_reader": pairs_of_text,
        "sort": sort,
    }
    outcome = bench.reduce(functions, bench.text("b 1\na 2\n"), final=True)
    expected = [("a", "2"), ("b", "1")] if sort else [("b", "1"), ("a", "2")]
    assert expected == bench.records(outcome)


def test_a_reader_is_for_inputs_and_never_sees_the_records_between_stages(bench: Any) -> None:
    mapped = bench.map({"map": words}, bench.text("a b\n"))
    functions = {"reduce": total, "reduce_reader": pairs_of_text}
    reduced = bench.reduce(functions, *bench.segments(mapped, 0), final=True)
    assert [("a", 1), ("b", 1)] == bench.records(reduced)


def test_a_first_stage_reduce_without_a_reader_gets_lines(bench: Any) -> None:
    functions = {"reduce": lambda lines, params: [("lines", len(list(lines)))]}
    assert [("lines", 2)] == bench.records(bench.reduce(functions, bench.text("a\nb\n")))
    error = bench.fail("reduce", functions | {"sort": True}, bench.text("a\nb\n")).error
    assert "must be a pair" in error.message

"""The programs that simulated users run, and what they must come to: the single-process truth.

Functions travel to the workers by reference, as this package is installed there. Inputs are made
from a random stream; `truth` computes in one process what the cluster computes in many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from peerdisco_sim.streams import Stream

Pairs = list[tuple[Any, Any]]
Functions = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Program:
    """A job with its inputs and its answer.

    Attributes:
        functions: By Disco's names; see `peerdisco.jobpack.build`.
        texts: One input each.
        partitions: How many labels the map writes.
        has_reduce: Whether there is a second stage.
        truth: All records of the result, in any order.
        ordered: Whether each result must be sorted by its keys.
        fails: When the user's code is to blame: a part of the error's message.
        combined: Whether the map combines, so that reduces read fewer records than maps wrote.
    """

    functions: Functions
    texts: tuple[str, ...]
    partitions: int = 3
    has_reduce: bool = True
    truth: Counter[Any] = field(default_factory=Counter)
    ordered: bool = False
    fails: str = ""


def raw(text: str) -> str:
    """A text as a URL."""
    return "raw://" + quote(text, safe="")


# -- word count -------------------------------------------------------------------------------


def count_words(text: str, params: object) -> Iterator[tuple[str, int]]:
    """Map: each word once for each time that it stands there."""
    del params
    for word in text.split():
        yield word, 1


def add_up(pairs: Iterator[tuple[str, int]], params: object) -> Iterator[tuple[str, int]]:
    """Reduce: the sum for each key."""
    del params
    totals: dict[str, int] = {}
    for word, number in pairs:
        totals[word] = totals.get(word, 0) + number
    yield from totals.items()


def word_count(draws: Stream, inputs: int = 6) -> Program:
    """The job that everybody knows."""
    words = [f"w{number}" for number in range(draws.choice((3, 40, 300)))]
    texts = tuple(
        "\n".join(" ".join(draws.choices(words, k=8)) for _ in range(draws.choice((1, 20, 120))))
        for _ in range(inputs)
    )
    truth = Counter(word for text in texts for word in text.split())
    functions = {"map": count_words, "reduce": add_up}
    return Program(functions, texts, draws.choice((1, 3, 8)), truth=Counter(truth.items()))


# -- sort -------------------------------------------------------------------------------------


def keyed(text: str, params: object) -> Iterator[tuple[str, str]]:
    """Map: lines of key and value."""
    del params
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        yield key, value


def same(pairs: Iterator[tuple[str, str]], params: object) -> Iterator[tuple[str, str]]:
    """Reduce: everything as it comes."""
    del params
    yield from pairs


def sort(draws: Stream, inputs: int = 5) -> Program:
    """Every record has a number of its own, so a lost or doubled one shows."""
    serial = 0
    texts = []
    truth: Counter[Any] = Counter()
    for _ in range(inputs):
        lines = []
        for _ in range(draws.choice((0, 10, 150))):
            serial += 1
            pair = (f"k{draws.randrange(500):05d}", str(serial))
            truth[pair] += 1
            lines.append(" ".join(pair))
        texts.append("\n".join(lines))
    functions = {"map": keyed, "reduce": same, "sort": True}
    return Program(functions, tuple(texts), draws.choice((1, 4)), truth=truth, ordered=True)


# -- join -------------------------------------------------------------------------------------


def sides(text: str, params: object) -> Iterator[tuple[str, tuple[str, str]]]:
    """Map: lines of side, key and value."""
    del params
    for line in text.splitlines():
        side, key, value = line.split(" ")
        yield key, (side, value)


def join(
    pairs: Iterator[tuple[str, tuple[str, str]]], params: object
) -> Iterator[tuple[str, tuple[str, str]]]:
    """Reduce: the pairs of values that have the same key on both sides."""
    del params
    left: dict[str, list[str]] = {}
    right: dict[str, list[str]] = {}
    for key, (side, value) in pairs:
        (left if side == "L" else right).setdefault(key, []).append(value)
    for key, values in left.items():
        for one in values:
            for other in right.get(key, ()):
                yield key, (one, other)


def inner_join(draws: Stream, inputs: int = 4) -> Program:
    """Two tables, joined."""
    keys = draws.choice((5, 60))
    rows = [
        (draws.choice("LR"), f"k{draws.randrange(keys)}", f"v{serial}")
        for serial in range(draws.choice((20, 120)))
    ]
    texts = tuple("\n".join(" ".join(row) for row in rows[i::inputs]) for i in range(inputs))
    truth = Counter(
        (key, (one, other))
        for side, key, one in rows
        if side == "L"
        for other_side, other_key, other in rows
        if other_side == "R" and other_key == key
    )
    functions = {"map": sides, "reduce": join}
    return Program(functions, texts, truth=Counter(truth))


# -- PageRank ---------------------------------------------------------------------------------

DAMPING = 85
SCALE = 1_000_000


def read_graph(text: str, params: object) -> Iterator[tuple[str, tuple[int, str]]]:
    """The first map: lines of page and its links, each page with the same rank."""
    del params
    for line in text.splitlines():
        page, _, links = line.partition(" ")
        yield from spread_rank((page, (SCALE, links)), None)


def spread_rank(
    entry: tuple[str, tuple[int, str]], params: object
) -> Iterator[tuple[str, tuple[int, str]]]:
    """Map: a page gives its rank to those it links to, and keeps its links."""
    del params
    page, (rank, links) = entry
    yield page, (0, links)
    targets = links.split()
    for target in targets:
        yield target, (rank // len(targets), "")


def gather_rank(
    pairs: Iterator[tuple[str, tuple[int, str]]], params: object
) -> Iterator[tuple[str, tuple[int, str]]]:
    """Reduce: the new rank of each page. In whole numbers, so that no order matters."""
    del params
    ranks: dict[str, int] = {}
    links: dict[str, str] = {}
    for page, (rank, out) in pairs:
        ranks[page] = ranks.get(page, 0) + rank
        links[page] = links.get(page, "") or out
    for page, rank in ranks.items():
        yield page, ((SCALE * (100 - DAMPING) + rank * DAMPING) // 100, links[page])


def graph(draws: Stream, inputs: int = 4) -> tuple[tuple[str, ...], Pairs]:
    """Texts of a random graph, and its pages with their first ranks and links."""
    pages = [f"p{number}" for number in range(draws.choice((6, 40)))]
    rows = [(page, " ".join(draws.sample(pages, draws.randint(1, 4)))) for page in pages]
    texts = tuple("\n".join(" ".join(row) for row in rows[i::inputs]) for i in range(inputs))
    return texts, [(page, (SCALE, links)) for page, links in rows]


def next_ranks(ranks: Pairs) -> Pairs:
    """One round of PageRank in one process."""
    spread = [pair for entry in ranks for pair in spread_rank(entry, None)]
    return list(gather_rank(iter(spread), None))


# -- users' own mistakes ----------------------------------------------------------------------


def raise_on_poison(text: str, params: object) -> Iterator[tuple[str, int]]:
    """Map: one record is more than it can take."""
    del params
    for word in text.split():
        if word == "poison":
            raise ValueError("cannot digest poison")
        yield word, 1


def yield_rubbish(text: str, params: object) -> Iterator[Any]:
    """Map: what it yields is no pair."""
    del params
    yield from text.split()


def stop_early(text: str, params: object) -> Iterator[tuple[str, int]]:
    """Map: raises what would end its input silently."""
    del text, params
    raise StopIteration


def reduce_badly(pairs: Iterator[tuple[str, int]], params: object) -> Iterator[tuple[str, int]]:
    """Reduce: reads all, then divides by nothing."""
    del params
    total = sum(number for _, number in pairs)
    yield "mean", total // (total - total)


MISTAKES: tuple[tuple[Functions, str], ...] = (
    ({"map": raise_on_poison, "reduce": add_up}, "cannot digest poison"),
    ({"map": yield_rubbish, "reduce": add_up}, ""),
    ({"map": stop_early, "reduce": add_up}, ""),
    ({"map": count_words, "reduce": reduce_badly}, "ZeroDivisionError"),
    ({"map": count_words}, "no reduce function"),
)
"""Functions that fail, and a part of what their author must be told."""


def mistake(draws: Stream) -> Program:
    """A job that must die of its author's fault, and say so."""
    functions, message = draws.choice(MISTAKES)
    texts = ["some words to read", "and some more", "words and words"]
    texts.insert(draws.randrange(4), "here is poison for you")
    return Program(functions, tuple(texts), 2, fails=message or " ")


PROGRAMS: Mapping[str, Callable[[Stream], Program]] = {
    "wordcount": word_count,
    "sort": sort,
    "join": inner_join,
    "mistake": mistake,
}

"""Jobs one after the other: word counts, sorts, joins, mistakes, PageRank as a chain of jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from peerdisco_sim.client import Client, ClientError, Refused
from peerdisco_sim.schedule import Value
from peerdisco_sim.streams import Stream
from peerdisco_sim.workloads import programs
from peerdisco_sim.workloads.jobs import JobRunner
from peerdisco_sim.workloads.programs import PROGRAMS, Program
from peerdisco_sim.workloads.work import API, CALM_PATIENCE_S, Work
from peerdisco_webui.messages import Chunked

DEFAULTS: Mapping[str, Value] = {"jobs_max": 40, "pause_s": 1.5}
ROUNDS = 3
INGEST_LINES = 400


class BatchWork(Work):
    """One program after the other, until told to stop.

    Args:
        name: A key of `PROGRAMS`.
        params: From the schedule.
    """

    def __init__(self, name: str, params: Mapping[str, Value]) -> None:
        super().__init__(name, params, DEFAULTS)

    async def work(self) -> None:
        """See Work."""
        draws = self.draws()
        client = self.client()
        for number in range(self.number("jobs_max")):
            await self.one(client, draws, f"{self.name}-{number}")
            await self.pause(draws, self.seconds("pause_s"))
            if self.stopping:
                return

    async def one(self, client: Client, draws: Stream, job: str) -> None:
        """One job."""
        await JobRunner(self, client).run(job, PROGRAMS[self.name](draws))


class IngestWork(BatchWork):
    """Word counts over a tag: push a text in chunks, count its words by the tag's name."""

    def __init__(self, params: Mapping[str, Value]) -> None:
        super().__init__("ingest", params)

    async def one(self, client: Client, draws: Stream, job: str) -> None:
        """Push, count, compare."""
        words = [f"w{number}" for number in range(60)]
        lines = [" ".join(draws.choices(words, k=10)) for _ in range(INGEST_LINES)]
        text = "".join(f"{line}\n" for line in lines)
        tag = f"sim:text-{job}"
        try:
            # Not repeatable: a second push would append the chunks a second time.
            await client.call(
                "POST",
                f"{API}/tags/{tag}/chunks?chunk_size=4096",
                Chunked,
                body=text.encode(),
                patience_s=CALM_PATIENCE_S,
                repeatable=False,
            )
        except Refused as error:
            self.wrong("B5 push refused", f"{tag}: {error}")
            return
        except ClientError:
            return
        truth = Counter(Counter(text.split()).items())
        functions = {"map": programs.count_words, "reduce": programs.add_up}
        program = Program(functions, (), draws.choice((1, 4)), truth=truth)
        await JobRunner(self, client).run(job, program, inputs=((f"tag://{tag}",),))


class PageRankWork(BatchWork):
    """Chains of jobs: each round reads the results of the one before."""

    def __init__(self, params: Mapping[str, Value]) -> None:
        super().__init__("pagerank", params)

    async def one(self, client: Client, draws: Stream, job: str) -> None:
        """A chain of rounds; it breaks off when one of them dies for a reason."""
        texts, ranks = programs.graph(draws)
        reader: Callable[..., object] = programs.read_graph
        inputs: tuple[tuple[str, ...], ...] = tuple((programs.raw(text),) for text in texts)
        for number in range(ROUNDS):
            ranks = programs.next_ranks(ranks)
            functions = {"map": reader, "reduce": programs.gather_rank}
            program = Program(functions, texts, 2, truth=Counter(ranks))
            runner = JobRunner(self, client)
            finished = await runner.run(f"{job}-{number}", program, inputs=inputs)
            if finished is None:
                return
            inputs = tuple((url,) for url in finished.urls)
            reader = programs.spread_rank

"""The timeline page: complete without scripts, alone in the world, and usable by keyboard."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from click.testing import CliRunner

from peerdisco_sim.failures import Failure
from peerdisco_sim.play import Outcome, play
from peerdisco_sim.recorder import TimedEvent
from peerdisco_sim.schedule import Fault, Schedule
from peerdisco_sim.timeline.command import timeline
from peerdisco_sim.timeline.page import collect, render
from peerdisco_sim.timeline.watch import Watcher

NASTY = '</script><script>alert("x")</script> {{ data }} & <b>'
SCHEDULE = Schedule(
    seed=3,
    nodes=3,
    duration_s=6.0,
    checkers=("hygiene",),
    faults=(
        Fault(1.0, "kill", "n2", {"back_s": 1.0}),
        Fault(2.5, "pause", "n3", {"for_s": 1.0}),
        Fault(3.0, "power_cut", "n1", {"back_s": 1.5}),
    ),
)


@pytest.fixture(scope="module")
def played() -> tuple[Outcome, Watcher]:
    watcher = Watcher()
    outcome = play(SCHEDULE, watchers=[watcher])
    assert not outcome.failures
    return outcome, watcher


@pytest.fixture(scope="module")
def page(played: tuple[Outcome, Watcher]) -> str:
    """A page on which something is said to be violated."""
    outcome, watcher = played
    failure = Failure(4.0, "a rule", NASTY, "n2")
    events = [*outcome.events, TimedEvent(4.0, "n2", "violation", f"a rule: {NASTY}")]
    changed = Outcome(
        **{name: getattr(outcome, name) for name in outcome.__slots__}
        | {"failures": (failure,), "events": sorted(events, key=lambda event: event.at)}
    )
    return render(changed, watcher, title=f"title {NASTY}", replay="peerdisco simulate replay x")


def test_lanes_tell_who_was_up_who_led_and_who_was_down(played: tuple[Outcome, Watcher]) -> None:
    data = collect(*played)
    lanes = {lane["name"]: lane for lane in data["lanes"]}
    assert ["n1", "n2", "n3"] == list(lanes)
    for lane in lanes.values():
        states = lane["states"]
        gaps = [b[0] - a[1] for a, b in itertools.pairwise(states)]
        assert all(abs(gap) < 1e-6 for gap in gaps), states
    assert "down" in [what for _, _, what in lanes["n2"]["states"]]
    assert "without power" in [what for _, _, what in lanes["n1"]["states"]]
    assert "paused" in [what for _, _, what in lanes["n3"]["states"]]
    assert any(
        "leads layout in term" in what for lane in lanes.values() for _, _, what in lane["roles"]
    )
    assert ["kill", "pause", "power_cut"] == [fault["kind"] for fault in data["faults"]][:3]


def test_messages_name_what_they_say(played: tuple[Outcome, Watcher]) -> None:
    kinds = {message[3].split(" ")[0] for message in collect(*played)["messages"]}
    assert {"Ping", "Ack"} <= kinds
    assert {"Append", "AppendReply"} & kinds or {"Beat", "BeatReply"} & kinds


def test_watching_does_not_change_what_happens(played: tuple[Outcome, Watcher]) -> None:
    assert play(SCHEDULE).digest == played[0].digest


def test_what_a_page_is_filled_with_cannot_break_out(page: str) -> None:
    assert '<script>alert("x")' not in page
    assert page.count("<script>") == 1
    assert page.count("</script>") == 2
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert NASTY == json.loads(data[1])["violations"][0]["detail"]


def test_the_page_allows_nothing_from_elsewhere(page: str) -> None:
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src &#x27;none&#x27;" in policy[1]
    assert "unsafe" not in policy[1]
    assert not re.search(r'(?:src|href)\s*=\s*"', page)
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


def test_without_scripts_the_table_holds_every_event(page: str) -> None:
    rows = re.findall(r"<tr data-event=", page)
    assert len(rows) > 10
    assert "kill n2" in page
    assert "Violated at 4.0000 s on n2: a rule." in page


def test_the_command_writes_one_file(tmp_path: Path) -> None:
    file, output = tmp_path / "schedule.json", tmp_path / "x.html"
    file.write_bytes(msgspec.structs.replace(SCHEDULE, duration_s=2.0, faults=()).encode())
    result = CliRunner().invoke(timeline, [str(file), "-o", str(output)])
    assert 0 == result.exit_code, result.output
    assert "nothing was violated" in result.output
    assert "schedule.json - timeline" in output.read_text()
    wrong = CliRunner().invoke(timeline, ["-o", str(output)])
    assert 2 == wrong.exit_code


class Browser:
    """One page in a headless Chromium, over its debugging protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.complaints: list[str] = []
        self._socket = socket
        self._calls = 0

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._calls += 1
        await self._socket.send_json({"id": self._calls, "method": method, "params": params})
        while True:
            message = await self._socket.receive_json()
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(json.dumps(message["params"]))
            if message.get("id") == self._calls:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    async def evaluate(self, expression: str) -> Any:
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def press(self, key: str, modifiers: int = 0) -> None:
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, modifiers=modifiers, **text
            )

    async def now(self) -> str:
        return str(await self.evaluate("document.getElementById('now').textContent"))


@contextmanager
def chromium() -> Iterator[str]:
    """A headless browser; where its debugger answers."""
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        command = [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank",
        ]  # fmt: skip
        quiet = subprocess.DEVNULL
        with subprocess.Popen(
            command, stdout=quiet, stderr=quiet, start_new_session=True
        ) as browser:
            try:
                port = Path(profile, "DevToolsActivePort")
                while not port.exists() or not port.read_text().strip():
                    assert browser.poll() is None
                    time.sleep(0.05)
                yield f"http://127.0.0.1:{port.read_text().splitlines()[0]}"
            finally:
                os.killpg(browser.pid, signal.SIGKILL)


@asynccontextmanager
async def browsing(base: str, page: str) -> AsyncIterator[Browser]:
    loaded = (
        "new Promise(r => document.readyState === 'complete' ? r() : addEventListener('load', r))"
    )
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{base}/json/list") as answer:
            (target, *_) = [t for t in await answer.json() if t["type"] == "page"]
        async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            browser = Browser(socket)
            for domain in ("Runtime", "Log", "Page"):
                await browser.call(f"{domain}.enable")
            await browser.call("Page.navigate", url=page)
            await browser.call("Runtime.evaluate", expression=loaded, awaitPromise=True)
            yield browser


@pytest.mark.needs_extra("chromium")
@pytest.mark.slow
def test_the_page_can_be_used_by_keyboard(page: str, tmp_path: Path) -> None:
    path = tmp_path / "x.html"
    path.write_text(page)
    with chromium() as base:
        asyncio.run(use_by_keyboard(base, path.as_uri()))


async def use_by_keyboard(base: str, page: str) -> None:
    async with browsing(base, page) as browser:
        await browser.evaluate("document.getElementById('picture').focus()")
        shown = "document.getElementById('window').textContent"
        whole = await browser.evaluate(shown)
        await browser.press("ArrowRight")
        first = await browser.now()
        assert first.startswith("0.0000 s n1, boot"), first
        await browser.press("ArrowRight")
        assert await browser.now() != first
        await browser.press("ArrowLeft")
        assert first == await browser.now()
        await browser.press("v")
        assert (await browser.now()).startswith("4.0000 s n2, violation: a rule")
        assert "n1: " in await browser.now()
        assert (
            await browser.evaluate("document.querySelector('tr.current td').textContent")
            == "4.0000"
        )
        assert whole != await browser.evaluate(shown)
        await browser.press("m")
        for _ in range(12):
            await browser.press("+")
        assert "messages" in await browser.evaluate(shown)
        lines = await browser.evaluate("document.querySelectorAll('line.message').length")
        assert 0 <= lines <= 1500
        await browser.press("0")
        assert str(whole).split(" s")[0] in await browser.evaluate(shown)
        await browser.press("ArrowUp")
        await browser.press("End")
        await browser.evaluate("document.getElementById('words').value = 'kill'")
        await browser.evaluate("document.getElementById('words').dispatchEvent(new Event('input'))")
        rows = "[...document.querySelectorAll('#rows tr:not([hidden])')].map(r => r.textContent)"
        found = await browser.evaluate(rows)
        assert found
        assert all("kill" in row.lower() for row in found)
        assert [] == browser.complaints

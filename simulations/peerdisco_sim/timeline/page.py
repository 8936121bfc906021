"""Writes the page: a template, a style sheet, a script and the data, all in one file.

The content security policy allows this script and this style by their hashes and nothing else: a
page from a colleague cannot fetch anything, wherever it is opened. Without scripts the page is
still complete: the table holds every event.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from peerdisco_sim.play import Outcome
from peerdisco_sim.recorder import TimedEvent
from peerdisco_sim.timeline.watch import Span, Watcher

TABLE_ROWS_MAX = 5000
DETAIL_CHARACTERS_MAX = 2000
_PLACE = re.compile(r"\{\{ (\w+) \}\}")
FAULT_KINDS = ("fault", "fault ended")


def render(outcome: Outcome, watcher: Watcher, *, title: str, replay: str) -> str:
    """The page about a play.

    Args:
        outcome: What the play came to.
        watcher: What was seen of the nodes.
        title: What was played.
        replay: The command that plays it again.
    """
    script, style = _asset("page.js"), _asset("page.css")
    policy = (
        f"default-src 'none'; script-src {_hash_of(script)}; style-src {_hash_of(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    data = json.dumps(collect(outcome, watcher), separators=(",", ":"))
    parts = {
        "policy": html.escape(policy),
        "title": html.escape(title),
        "verdict": _verdict(outcome),
        "replay": html.escape(replay),
        "style": style,
        "script": script,
        "data": data.replace("<", "\\u003c"),
        "rows": "\n".join(_row(number, event) for number, event in enumerate(_told(outcome))),
    }
    # In one pass: what is put in may hold anything, also what looks like another place.
    return _PLACE.sub(lambda place: parts[place[1]], _asset("page.html"))


def collect(outcome: Outcome, watcher: Watcher) -> dict[str, Any]:
    """What the script draws."""
    watcher.finish(outcome.virtual_s)
    names = list(watcher.lanes)
    return {
        "end": round(outcome.virtual_s, 4),
        "lanes": [
            {
                "name": name,
                "states": _spans(watcher.lanes[name].states),
                "roles": _spans(watcher.lanes[name].roles),
                "tasks": _spans(watcher.lanes[name].tasks),
            }
            for name in names
        ],
        "faults": _faults(outcome.events, outcome.virtual_s),
        "phases": [[round(e.at, 4), e.detail] for e in outcome.events if e.kind == "phase"],
        "events": [
            [round(e.at, 4), names.index(e.node) if e.node in names else -1, e.kind, _short(e)]
            for e in _told(outcome)
        ],
        "violations": [
            {
                "at": round(f.at, 4),
                "name": f.name,
                "node": f.node,
                "detail": f.detail[-DETAIL_CHARACTERS_MAX:],
            }
            for f in outcome.failures
        ],
        "messages": [
            [round(m.at, 5), names.index(m.source), names.index(m.target), m.what, m.size]
            for m in watcher.sent
            if m.source in names and m.target in names
        ],
    }


def _faults(events: Sequence[TimedEvent], end: float) -> list[dict[str, Any]]:
    """Faults with their length: as long as they were meant to last, at most to the end."""
    return [
        {
            "at": round(event.at, 4),
            "until": round(min(end, event.at + float(event.data.get("for_s", 0.0))), 4),
            "kind": str(event.data.get("kind", "")),
            "nodes": [name for name in str(event.data.get("nodes", "")).split(",") if name],
            "detail": event.detail,
        }
        for event in events
        if event.kind == "fault"
    ]


def _told(outcome: Outcome) -> list[TimedEvent]:
    """The events of the table: all, or the last ones before the first violation or the end."""
    events = [event for event in outcome.events if event.kind != "phase"]
    return events[-TABLE_ROWS_MAX:]


def _row(number: int, event: TimedEvent) -> str:
    cells = (f"{event.at:.4f}", event.node, event.kind, _short(event))
    body = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
    kind = (
        "violation" if event.kind == "violation" else "fault" if event.kind in FAULT_KINDS else ""
    )
    return f'<tr data-event="{number}" class="{kind}">{body}</tr>'


def _verdict(outcome: Outcome) -> str:
    schedule = outcome.schedule
    facts = (
        f"{schedule.nodes} nodes, {outcome.virtual_s:.1f} virtual seconds, "
        f"{sum(outcome.fired.values())} faults, {outcome.operations} operations"
    )
    if not outcome.failures:
        return f'<p class="verdict good"><strong>Nothing was violated.</strong> {facts}</p>'
    first = outcome.failures[0]
    where = f" on {html.escape(first.node)}" if first.node else ""
    line = html.escape(first.detail.strip().splitlines()[-1] if first.detail.strip() else "")
    return (
        f'<p class="verdict bad"><strong>Violated at {first.at:.4f} s{where}: '
        f"{html.escape(first.name)}.</strong> {line}</p><p>{facts}</p>"
    )


def _spans(spans: Sequence[Span]) -> list[list[Any]]:
    return [[round(s.began, 4), round(s.ended, 4), s.what] for s in spans if s.ended > s.began]


def _short(event: TimedEvent) -> str:
    return event.detail[:DETAIL_CHARACTERS_MAX]


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash_of(text: str) -> str:
    """A source expression that allows exactly this inline text."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"

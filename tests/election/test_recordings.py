"""Conversations in the words of another implementation: our core says what was recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.election.foreign import read, replay, write

FILES = sorted((Path(__file__).parent / "recordings").glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_core_says_what_was_recorded(path: Path) -> None:
    """Line by line."""
    recorded = path.read_text(encoding="utf-8")
    assert recorded == replay(recorded)


def test_every_recorded_message_survives_the_translation() -> None:
    """Both ways, so that nothing is compared that was lost on the way."""
    for path in FILES:
        for line in path.read_text(encoding="utf-8").splitlines():
            if "->" in line:
                said = line[2:]
                sender, message = read(said)
                to = said.split("->")[1].split()[0]
                assert said == write(sender, to, message)

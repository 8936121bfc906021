"""`--set`: names of settings, their values, and what is refused."""

from __future__ import annotations

import pytest

from peerdisco.errors import ConfigurationError
from peerdisco.knobs import tuned
from peerdisco.settings import knob_of, known_settings, parse_settings
from peerdisco_dht import StorageConfig


def test_every_room_has_settings_with_defaults() -> None:
    known = known_settings()
    rooms = {name.partition(".")[0] for name in known}
    assert rooms == {"gossip", "raft", "storage", "layout", "coordination", "execution"}
    assert known["storage.repair_concurrency"] == StorageConfig().repair_concurrency


def test_settings_reach_the_configuration_and_leave_the_rest() -> None:
    texts = ["repair_bytes_per_s=100M", "scrub_period_s=3600", "low_share=.2"]
    texts = [f"storage.{text}" for text in texts]
    config = tuned(knob_of(parse_settings(texts)), "storage", StorageConfig())
    assert (config.repair_bytes_per_s, config.scrub_period_s) == (100 << 20, 3600.0)
    assert config.low_share == 0.2
    assert config.trash_s == StorageConfig().trash_s


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("storage.low_share", "NAME=VALUE"),
        ("storage.repair_byte_per_s=1", "did you mean storage.repair_bytes_per_s"),
        ("nothing=1", "there is no setting 'nothing'"),
        ("storage.transfers_max=many", "a whole number, not 'many'"),
        ("storage.transfers_max=1.5", "a whole number"),
        ("storage.trash_s=inf", "is not inf"),
        ("storage.trash_s=-1", "is not -1"),
        ("storage.trash_s=", "a number, not ''"),
        ("storage.scrub_bytes_per_s=0", "scrub_bytes_per_s is at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        parse_settings([text])

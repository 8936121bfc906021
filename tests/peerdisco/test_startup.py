"""What is refused before a node exists, and in which words."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from pathlib import Path

import pytest
from aiohttp.http_exceptions import BadHttpMessage

from peerdisco.errors import ConfigurationError
from peerdisco.host.ports import free_ports
from peerdisco.startup import _is_about_us, advertised_address, choose_ports, claimed


def test_a_new_directory_is_made_and_claimed_once(tmp_path: Path) -> None:
    root = tmp_path / "new" / "data"
    with (
        claimed(root),
        pytest.raises(ConfigurationError, match=f"in use.*process id {os.getpid()}"),
        claimed(root),
    ):
        pass
    with claimed(root):
        assert (root / "format").exists()


def test_a_foreign_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("precious")
    with (
        pytest.raises(ConfigurationError, match=r"not a peerdisco.*thesis\.doc"),
        claimed(tmp_path),
    ):
        pass
    assert ["thesis.doc"] == sorted(entry.name for entry in tmp_path.iterdir())


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "format").write_text("peerdisco 99\n")
    with pytest.raises(ConfigurationError, match="newer peerdisco"), claimed(tmp_path):
        pass


def test_an_unusable_directory_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="--data"), claimed(tmp_path / "file" / "data"):
        pass


def test_a_busy_port_is_stepped_over_at_the_first_start_and_kept_later(tmp_path: Path) -> None:
    busy, free = free_ports("127.0.0.1", 2)
    with socket.socket() as other:
        other.bind(("127.0.0.1", busy))
        other.listen()
        peer, client = choose_ports(tmp_path, None, ("127.0.0.1", free))
        assert client == free
        with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{busy} \(TCP\)"):
            choose_ports(tmp_path, ("127.0.0.1", peer), ("127.0.0.1", busy))
    assert (peer, client) == choose_ports(tmp_path, None, None)


def test_the_advertised_address_is_the_told_one_or_the_listening_one() -> None:
    assert ("192.0.2.9", 8990) == advertised_address("192.0.2.9", None, 8990)
    assert ("192.0.2.9", 1) == advertised_address("192.0.2.9:1", "10.0.0.1", 8990)
    assert ("10.0.0.1", 8990) == advertised_address(None, "10.0.0.1", 8990)
    assert advertised_address(None, None, 8990)[1] == 8990


def test_names_are_resolved_as_members_tell_each_other_addresses() -> None:
    for address in (
        advertised_address("localhost:1", None, 8990),
        advertised_address(None, "localhost", 1),
    ):
        assert address in (("127.0.0.1", 1), ("::1", 1))
    with pytest.raises(ConfigurationError, match=r"address of no such name.*--advertise"):
        advertised_address(None, "no such name", 8990)


def test_an_attempt_that_a_full_disk_broke_off_leaves_the_directory_usable(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("")
    (tmp_path / "format.new").write_text("")
    with claimed(tmp_path):
        assert "peerdisco 1\n" == (tmp_path / "format").read_text()
    assert not (tmp_path / "format.new").exists()


@pytest.mark.parametrize(
    ("message", "error", "told"),
    [
        ("Error handling request from %s", BadHttpMessage("no HTTP"), False),
        ("Unhandled exception", asyncio.InvalidStateError(), False),
        ("Error handling request from %s", asyncio.InvalidStateError(), True),
        ("Unhandled exception", OSError(), True),
    ],
)
def test_what_the_http_server_complains_of_is_told_unless_it_is_about_others(
    message: str, error: Exception, told: bool
) -> None:
    exc_info = (type(error), error, None)
    record = logging.LogRecord("aiohttp.server", logging.ERROR, "", 0, message, (), exc_info)
    assert _is_about_us(record) is told

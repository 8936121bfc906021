"""Requests in one piece, and heads of answers as servers write them."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from peerdisco.client.connection import FIELDS_MAX, Connection

Speak = Callable[[bytes], Connection]


@pytest.fixture
def speak() -> Iterator[Speak]:
    """A server that says just that to whoever connects, and then closes."""
    servers: list[tuple[socket.socket, threading.Thread]] = []

    def start(words: bytes) -> Connection:
        server = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(words)

        thread = threading.Thread(target=serve)
        thread.start()
        servers.append((server, thread))
        return Connection(("127.0.0.1", server.getsockname()[1]), None)

    yield start
    for server, thread in servers:
        thread.join()
        server.close()


@pytest.mark.parametrize(
    ("words", "body", "will_close"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length:5\r\nConnection: close\r\n\r\nhello", b"hello", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end", True),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            b"hello",
            False,
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", False),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"ok",
            False,
        ),
    ],
)
def test_an_answer_is_read_as_it_says(
    speak: Speak, words: bytes, body: bytes, will_close: bool
) -> None:
    connection = speak(words)
    response = connection.exchange("GET", "/", b"", {}, 5)
    assert response.read() == body
    assert response.will_close is will_close
    connection.close()


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(FIELDS_MAX + 1)),
    ],
)
def test_what_is_no_answer_is_an_error_of_the_network(speak: Speak, words: bytes) -> None:
    connection = speak(words)
    with pytest.raises((http.client.HTTPException, OSError)):
        connection.exchange("GET", "/", b"", {}, 5)
    connection.close()


def test_a_small_request_is_one_piece() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        seen: list[bytes] = []

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                seen.append(peer.recv(65536))
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        address = ("127.0.0.1", server.getsockname()[1])
        connection = Connection(address, None)
        connection.exchange("POST", "/x", b"body", {"X-Peerdisco": "1"}, 5).read()
        thread.join()
        connection.close()
    host = f"127.0.0.1:{address[1]}"
    head = f"POST /x HTTP/1.1\r\nHost: {host}\r\nX-Peerdisco: 1\r\nContent-Length: 4\r\n\r\n"
    assert seen == [head.encode() + b"body"]


def test_a_header_of_two_lines_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = Connection(("127.0.0.1", server.getsockname()[1]), None)
        with pytest.raises(ValueError, match="one line"):
            connection.exchange("GET", "/", b"", {"X": "a\r\nY: b"}, 5)
        connection.close()

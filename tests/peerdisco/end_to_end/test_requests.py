"""Whatever is sent to a node's ports is answered in words, and changes nothing it should not."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from typing import Any

import pytest

from peerdisco import DDFS
from peerdisco.client import Cluster
from peerdisco.demo.nodes import DaemonProcess

pytestmark = pytest.mark.slow

TAG = b'{"urls":[["raw://x"]]}'
HEADERS = {"X-Peerdisco": "1"}


def ask(
    node: DaemonProcess,
    method: str,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, str]:
    """Status and body of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=20)
    try:
        connection.request(method, path, body, HEADERS if headers is None else headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("GET", "/api/v1/jobs/nope", None, 404, "unknown job 'nope'"),
        ("GET", "/api/v1/tags/nope", None, 404, "there is no tag 'nope'"),
        ("GET", "/api/v1/blobs/nope", None, 404, "blobs are named b3-"),
        ("GET", "/api/v1/blobs/b3-" + "0" * 64, None, 404, "no node has the blob b3-"),
        ("POST", "/api/v1/jobs", b"garbage", 400, "not a job pack"),
        ("POST", "/api/v1/jobs", b"\x89PDJOB\n\x01", 400, "cut short"),
        ("POST", "/api/v1/jobs", b"\x89PDJOB\n\x09" + bytes(20), 400, "version 9"),
        ("POST", "/api/v1/jobs", b"\x89PDJOB\n\x01\0\0\0\4junkjunk", 400, "header is damaged"),
        ("POST", "/api/v1/tags/hostile:x", b"{", 400, "the body is not"),
        ("POST", "/api/v1/tags/hostile:x", b"[" * 100_000, 400, "the body is not"),
        ("POST", "/api/v1/tags/hostile:x", b'{"urls":5}', 400, "urls"),
        ("POST", "/api/v1/tags/hostile:x", b'{"urls":[[]]}', 400, "at least one URL"),
        ("POST", "/api/v1/tags/hostile:x", b'{"urls":[["no url"]]}', 400, "not a URL"),
        ("POST", "/api/v1/tags/hostile:x", b'{"urls":[["raw://\\u001b[2J"]]}', 400, "not a URL"),
        (
            "POST",
            "/api/v1/tags/hostile:x",
            json.dumps({"urls": [["raw://" + "x" * 20_000]]}).encode(),
            413,
            "at most 16384 characters",
        ),
        ("GET", "/api/v1/tags?limit=-1", None, 400, "limit"),
        ("GET", "/api/v1/tags?limit=many", None, 400, "limit"),
        ("GET", "/api/v1/tags?prefix=%00", None, 400, "tag names"),
        ("GET", "/api/v1/jobs/x?wait_s=nan", None, 400, "wait_s"),
        ("GET", "/api/v1/jobs/..%2f..%2fetc", None, 404, "unknown job"),
        ("GET", "/static/..%2f..%2fapp.py", None, 404, "no such file"),
        ("PATCH", "/api/v1/jobs/x", None, 405, "Method Not Allowed"),
        ("GET", "/nothing/here", None, 404, "nothing at this address"),
        ("PUT", "/api/v1/tags/hostile:x/attributes/" + "k" * 2000, b'{"value":"v"}', 400, "1024"),
    ],
)  # fmt: skip
def test_requests_that_make_no_sense_are_refused_in_words(
    three: list[DaemonProcess], method: str, path: str, body: bytes | None, status: int, told: str
) -> None:
    found, answer = ask(three[0], method, path, body)
    assert (status, True) == (found, told in answer), answer
    assert status == json.loads(answer)["status"]


@pytest.mark.parametrize(
    "name",
    [
        "..%2F..%2Fetc",
        "%2e%2e",
        "%00",
        "a%20b",
        "x" * 600,
        "%F0%9F%98%80",
        "<b>",
        "a%0d%0ab",
        "%2F",
    ],
)
def test_hostile_tag_names_are_refused_for_every_method(
    three: list[DaemonProcess], cluster: Cluster, name: str
) -> None:
    before = list(DDFS(cluster).list())
    for method in ("POST", "PUT", "GET", "DELETE"):
        status, answer = ask(three[0], method, f"/api/v1/tags/{name}", TAG)
        assert 400 == status, (method, answer)
    assert before == list(DDFS(cluster).list())


def test_a_body_that_is_announced_too_long_is_refused_unread(three: list[DaemonProcess]) -> None:
    headers = {**HEADERS, "Content-Length": str(10**12)}
    for path in ("/api/v1/jobs", "/api/v1/tags/hostile:x"):
        status, answer = ask(three[0], "POST", path, None, headers)
        assert (413, True) == (status, "this route takes at most" in answer), answer


def test_other_web_sites_and_other_names_are_refused(three: list[DaemonProcess]) -> None:
    for headers, status in (
        ({}, 415),
        ({**HEADERS, "Host": "evil.example"}, 403),
        ({**HEADERS, "Origin": "http://evil.example"}, 403),
        ({**HEADERS, "Sec-Fetch-Site": "cross-site"}, 403),
    ):
        assert status == ask(three[0], "POST", "/api/v1/tags/hostile:y", TAG, headers)[0], headers
    assert 404 == ask(three[0], "GET", "/api/v1/tags/hostile:y")[0]


def test_noise_on_every_port_changes_nothing_and_fills_no_log(
    three: list[DaemonProcess], cluster: Cluster
) -> None:
    node = three[1]
    length = len(node.log.read_text())
    noise = bytes(range(256)) * 20
    for port in (node.peer_port, node.http_port):
        with socket.create_connection(("127.0.0.1", port), 5) as stream:
            stream.sendall(noise)
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        for size in (0, 1, 20, 64, 1200, 5000):
            datagrams.sendto(noise[:size], ("127.0.0.1", node.peer_port))
    ask(node, "GET", "/" + "a" * 20_000)
    assert 3 == cluster.status().alive
    told = node.log.read_text()[length:]
    assert "Traceback" not in told
    assert "ERROR" not in told


def test_the_peer_port_answers_nobody_without_a_certificate_of_the_cluster(
    three: list[DaemonProcess],
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for path in ("call/dht/put", "call/gossip/exchange", "fetch/segments/read", "link", ""):
        connection = http.client.HTTPSConnection(
            "127.0.0.1", three[0].peer_port, timeout=5, context=context
        )
        connection.request("POST", f"/{path}", b"abc")
        response = connection.getresponse()
        assert 401 == response.status, path
        assert b"peers of this cluster only" == response.read()
        connection.close()

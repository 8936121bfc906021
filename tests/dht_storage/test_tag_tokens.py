"""Who may do what with a tag, its history, and delayed appends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import cbor2
import pytest

from peerdisco_dht import Caller, Denied, Limit, NoSuchTag, TokenKind, decode, encode
from peerdisco_dht.registers.value import Change
from peerdisco_dht.tags.head import (
    HISTORY_MAX,
    Append,
    DeleteTag,
    Entry,
    Event,
    Replace,
    Segment,
    SetAttribute,
    SetToken,
    TagHead,
    TagKind,
)
from peerdisco_dht.tags.tokens import Claim, Secret, may_read, may_write, seal

if TYPE_CHECKING:
    from tests.dht_storage.conftest import Cluster, World

SALT = b"0123456789abcdef"
SECRET = Secret(b"salt", b"digest")
CLAIM = Claim("t", SECRET, "ann")


@pytest.mark.parametrize(
    ("read", "write", "given", "reads", "writes"),
    [
        # Disco's matrix: neither token, the read token alone, the write token alone, both.
        (None, None, None, True, True),
        (None, None, "x", True, True),
        ("r", None, None, False, True),
        ("r", None, "r", True, True),
        ("r", None, "x", False, True),
        (None, "w", None, True, False),
        (None, "w", "w", True, True),
        (None, "w", "x", True, False),
        ("r", "w", None, False, False),
        ("r", "w", "r", True, False),
        ("r", "w", "w", True, True),
        ("r", "w", "x", False, False),
        # The empty token is a token, and another thing than none.
        ("", "", None, False, False),
        ("", "", "", True, True),
        ("", "w", "", True, False),
        ("r", "", "", True, True),
        ("r", "", None, False, False),
        (None, "", None, True, False),
        # Not even half of a surrogate pair is in the way.
        ("\ud800", None, "\ud800", True, True),
        ("\ud800", None, "\ud801", False, True),
    ],
)
def test_tokens_follow_disco(
    read: str | None, write: str | None, given: str | None, reads: bool, writes: bool
) -> None:
    head = TagHead(
        read_token=None if read is None else seal(read, SALT),
        write_token=None if write is None else seal(write, SALT),
    )
    assert (may_read(head, given), may_write(head, given)) == (reads, writes)


def test_the_token_that_creates_a_tag_is_demanded_from_then_on(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        tags, others = cluster[0].storage.tags, cluster[1].storage.tags
        ann = Caller("secret", "ann")
        await tags.append("a", [["x"]], caller=ann)
        tag = await others.get("a", caller=ann)
        assert (tag.urls, tag.owner) == ((("x",),), "ann")
        assert (tag.read_protected, tag.write_protected) == (True, True)
        for caller in (Caller(), Caller(""), Caller("wrong")):
            with pytest.raises(Denied):
                await others.get("a", caller=caller)
            with pytest.raises(Denied):
                await others.get("a", caller=caller, stale_ok=True)
            with pytest.raises(Denied):
                await others.history("a", caller=caller)
            with pytest.raises(Denied):
                await others.append("a", [["y"]], caller=caller)
            with pytest.raises(Denied):
                await others.append("a", [["x"]], unique=True, caller=caller)
            with pytest.raises(Denied):
                await others.append("a", [["y"]], delayed=True, caller=caller)
            with pytest.raises(Denied):
                await others.replace("a", [["y"]], caller=caller)
            with pytest.raises(Denied):
                await others.set_attribute("a", "k", "v", caller=caller)
            with pytest.raises(Denied):
                await others.delete_attribute("a", "k", caller=caller)
            with pytest.raises(Denied):
                await others.set_token("a", TokenKind.WRITE, None, caller=caller)
            with pytest.raises(Denied):
                await others.delete("a", caller=caller)
        assert await others.exists("a")
        assert (await others.get("a", caller=ann)).version == 1

    world(story)


def test_tokens_change_go_and_are_forgotten_with_the_tag(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        tags = cluster[0].storage.tags
        await tags.append("a", [["x"]])
        with pytest.raises(NoSuchTag):
            await tags.set_token("b", TokenKind.READ, "r")
        with pytest.raises(Limit):
            await tags.set_token("a", TokenKind.READ, "r" * 1025)
        await tags.set_token("a", TokenKind.READ, "r")
        with pytest.raises(Denied):
            await tags.get("a")
        # A read token alone does not keep writers out, not even from the token itself.
        await tags.append("a", [["y"]])
        await tags.set_token("a", TokenKind.READ, "r2")
        assert len((await tags.get("a", caller=Caller("r2"))).urls) == 2
        await tags.set_token("a", TokenKind.WRITE, "w")
        await tags.set_token("a", TokenKind.READ, None, caller=Caller("w"))
        assert len((await tags.get("a")).urls) == 2
        await tags.delete("a", caller=Caller("w"))
        await tags.append("a", [["z"]])
        assert (await tags.get("a")).urls == (("z",),)

    world(story)


def test_no_token_is_kept_in_clear(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        for name in ("a", "b"):
            tags = cluster[0].storage.tags
            await tags.append(name, [["x"]], caller=Caller("extremely-secret"))
            await tags.set_token(
                name, TokenKind.READ, "even-more-so", caller=Caller("extremely-secret")
            )
        digests = []
        for node in cluster.nodes.values():
            rows = list(node.log.rows.values())
            assert any(b"x" in row for row in rows)
            assert not any(b"secret" in row or b"even-more" in row for row in rows)
        for name in ("a", "b"):
            _, head = await cluster[0].storage.tags._head(name, stale_ok=False)
            assert head is not None
            assert head.write_token is not None
            digests.append(head.write_token.digest)
        assert digests[0] != digests[1], "the same token has another salt each time"

    world(story)


def test_history_tells_the_last_changes_and_who_made_them(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        tags = cluster[0].storage.tags
        ann, bob = Caller(name="ann"), Caller(name="bob")
        await tags.append("a", [["x"], ["y"]], caller=ann)
        await tags.set_attribute("a", "colour", "red", caller=bob)
        await tags.delete_attribute("a", "colour", caller=bob)
        await tags.set_token("a", TokenKind.READ, "r", caller=ann)
        await tags.replace("a", [["z"]], caller=bob)
        history = await cluster[1].storage.tags.history("a", caller=Caller("r"))
        assert history.owner == "ann"
        told = [(e.version, e.by, e.what, e.entries, e.detail) for e in history.events]
        assert told == [
            (5, "bob", "replace", 1, ""),
            (4, "ann", "token", 0, "read"),
            (3, "bob", "attribute", 0, "-colour"),
            (2, "bob", "attribute", 0, "colour"),
            (1, "ann", "append", 2, ""),
        ]
        assert {event.at for event in history.events} == {1.5e9}
        for number in range(HISTORY_MAX + 5):
            await tags.append("b", [[f"{number}"]])
        events = (await tags.history("b")).events
        assert [event.version for event in events] == list(range(HISTORY_MAX + 5, 5, -1))
        await tags.delete("b")
        await tags.append("b", [])
        assert len((await tags.history("b")).events) == 1

    world(story)


def test_delayed_appends_share_a_round_and_are_answered_when_they_are_done(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        tags = cluster[0].storage.tags
        await tags.append("a", [])
        loop = asyncio.get_running_loop()
        began, before = loop.time(), dict(cluster.network.calls)
        async with asyncio.TaskGroup() as group:
            calls = [
                group.create_task(tags.append("a", [[f"{n}"]], delayed=True, op_id=("me", n + 1)))
                for n in range(20)
            ]
            await asyncio.sleep(0.5)
            assert (await cluster[1].storage.tags.get("a")).urls == ()
        assert 1.0 <= loop.time() - began < 1.2
        assert [call.result().version for call in calls] == list(range(2, 22))
        rounds = cluster.network.calls["dht/register/accept"] - before["dht/register/accept"]
        assert rounds < 10, "twenty appends of their own would ask forty times"
        assert (await tags.append("a", [["0"]], delayed=True, op_id=("me", 1))).version == 2
        assert len((await tags.get("a")).urls) == 20

    world(story)


def test_a_delayed_append_needs_not_wait_when_enough_others_came(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        tags = cluster[0].storage.tags
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for n in range(128):
                group.create_task(tags.append("a", [[f"{n}"]], delayed=True))
        assert asyncio.get_running_loop().time() - began < 0.5
        assert len((await tags.get("a")).urls) == 128

    world(story)


def test_unique_appends_know_blobs_and_tags_by_their_names(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        tags = cluster[0].storage.tags
        disco = "disco://n1/ddfs/vol0/blob/a7/log-1$5a-1-2"
        await tags.append("a", [[disco], ["tag://t"]], unique=True)
        again = [["disco://n2/ddfs/vol3/blob/00/log-1$5b-9-9"], ["tag://t", "tag://other"]]
        assert (await tags.append("a", again, unique=True)).version == 1
        await tags.append("a", [["disco://n1/ddfs/vol0/blob/a7/log-2$5a-1-2"]], unique=True)
        assert len((await tags.get("a")).urls) == 3

    world(story)


@pytest.mark.parametrize(
    ("message", "golden"),
    [
        (
            SECRET,
            "824473616c7446646967657374",
        ),
        (
            CLAIM,
            "836174824473616c744664696765737463616e6e",
        ),
        (
            Event(2, 1.5, "ann", "attribute", 0, "-a"),
            "8602fb3ff800000000000063616e6e6961747472696275746500622d61",
        ),
        (
            TagHead(
                (Entry(("x",)), Segment("b", 3)),
                {"a": "v"},
                1.5,
                "ann",
                None,
                SECRET,
                (Event(1, 1.5, "ann", "append", 2),),
            ),
            (
                "8782826165816178836173616203a161616176fb3ff800000000000063616e6ef6824473616c74466469"
                "67657374818601fb3ff800000000000063616e6e66617070656e640260"
            ),
        ),
        (
            Append((Entry(("x",)),), 1.5, None, CLAIM),
            (
                "8566617070656e6481826165816178fb3ff8000000000000f6836174824473616c744664696765737463"
                "616e6e"
            ),
        ),
        (
            Replace((), 1.5, 7, CLAIM),
            "85677265706c61636580fb3ff800000000000007836174824473616c744664696765737463616e6e",
        ),
        (
            DeleteTag(CLAIM, 7),
            "836664656c657465836174824473616c744664696765737463616e6e07",
        ),
        (
            SetAttribute("a", None, 1.5, CLAIM),
            (
                "85696174747269627574656161f6fb3ff8000000000000836174824473616c744664696765737463616e"
                "6e"
            ),
        ),
        (
            SetToken(TokenKind.READ, SECRET, 1.5, CLAIM),
            (
                "8565746f6b656e6472656164824473616c7446646967657374fb3ff8000000000000836174824473616c"
                "744664696765737463616e6e"
            ),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_messages_keep_their_bytes(message: object, golden: str) -> None:
    assert encode(message).hex() == golden


def test_heads_and_actions_of_older_nodes_are_read() -> None:
    old_head = cbor2.dumps([[["e", ["x"]]], {"a": "v"}, 1.5])
    assert decode(old_head, TagHead) == TagHead((Entry(("x",)),), {"a": "v"}, 1.5)
    old_delete = cbor2.dumps(["delete"])
    verdict = TagKind().apply(TagHead(), 3, old_delete)
    assert verdict == Change(None)


def test_a_change_that_is_repeated_late_does_not_undo_what_came_after_it(world: World) -> None:
    async def story(cluster: Cluster) -> None:
        tags = cluster[0].storage.tags
        await tags.append("a", [["x"]])
        await tags.replace("a", [["y"]], op_id=("me", 1))
        await tags.set_attribute("a", "k", "old", op_id=("me", 2))
        await tags.set_token("a", TokenKind.READ, None, op_id=("me", 3))
        await tags.delete("a", op_id=("me", 4))
        await tags.append("a", [["z"]])
        await tags.set_attribute("a", "k", "new")
        others = cluster[1].storage.tags
        assert (await others.replace("a", [["y"]], op_id=("me", 1))).version == 2
        assert (await others.set_attribute("a", "k", "old", op_id=("me", 2))).version == 3
        await others.delete("a", op_id=("me", 4))
        tag = await others.get("a")
        assert (tag.urls, dict(tag.attrs), tag.version) == ((("z",),), {"k": "new"}, 7)

    world(story)

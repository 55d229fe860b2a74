"""What a user may do is found by trying, and nothing stays of it. The users are those of the page about security."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from fast_channels.layers.findings import Level
from fast_channels.layers.redis import permissions
from fast_channels.layers.redis.config import parse_hosts
from fast_channels.layers.redis.permissions import Missing, Protection
from fast_channels.layers.redis.topology import Endpoint
from tests.support.acl import commands_of, make_user, rules_of

OK, NOTE, WRONG = Level

TRIALS = {"shop-queue": permissions.QUEUE, "shop-live": permissions.PUBSUB}

each_user = pytest.mark.parametrize("user", TRIALS)


@each_user
def test_what_is_tried_is_what_the_page_about_security_allows(user: str) -> None:
    tried = permissions.names_of(TRIALS[user])
    assert len(tried) == len(set(tried))
    assert set(tried) == commands_of(rules_of(user))


@pytest.fixture
def missing_of(redis_url: str, admin: Any) -> Callable[..., Any]:
    """What a user of the page lacks, after more rules."""

    async def missing_of(user: str, *more: str, only: tuple[str, ...] = ()) -> Missing:
        prefix = f"test-{uuid4().hex[:12]}"
        name, password = make_user(admin, user, prefix, *more)
        if only:
            admin.execute_command("ACL", "SETUSER", name, "-@all", *only)
        server = parse_hosts([{"address": redis_url, "username": name, "password": password}])[0]
        connection = await Endpoint(server).connect(lambda push: None, lambda: None)
        key = f"{prefix}|{{trial}}|trial"
        found = await permissions.missing_on(connection, TRIALS[user], key, key)
        connection.close(ConnectionError("done"))
        assert admin.keys(f"{prefix}|*") == []
        return found

    return missing_of


@each_user
async def test_the_user_of_the_page_lacks_nothing(user: str, missing_of: Callable[..., Any]) -> None:
    assert await missing_of(user) == Missing()


@pytest.mark.parametrize(
    ("user", "rules", "missing"),
    [
        ("shop-queue", ["-hset", "-xinfo"], Missing(("hset", "xinfo|stream"))),
        ("shop-queue", ["-set", "-ssubscribe"], Missing(("set", "ssubscribe"))),
        ("shop-queue", ["-del", "-set"], Missing(("del", "set"))),
        ("shop-queue", ["resetkeys", "~other|*"], Missing(keys=True)),
        ("shop-queue", ["resetchannels"], Missing(channels=True)),
        ("shop-live", ["-pubsub|numsub"], Missing(("pubsub|numsub",))),
        ("shop-live", ["resetchannels"], Missing(channels=True)),
    ],
    ids=repr,
)
async def test_what_is_missing_is_named(
    user: str, rules: list[str], missing: Missing, missing_of: Callable[..., Any]
) -> None:
    assert await missing_of(user, *rules) == missing


async def test_what_could_not_be_removed_is_not_tried(missing_of: Callable[..., Any]) -> None:
    found = await missing_of("shop-queue", only=("+get", "+hset", "+rpush", "+xadd"))
    assert found.untried
    assert {"set", "del", "unlink"} <= set(found.commands)


@pytest.mark.parametrize(
    ("missing", "text", "advice"),
    [
        (Missing(), "user u may do all that the layer does", ""),
        (Missing(("hset", "xinfo|stream")), "user u lacks hset, xinfo|stream", "'+hset' '+xinfo|stream'"),
        (Missing(keys=True, channels=True), "user u lacks its keys, its channels", "'~shop|*' '&shop|*'"),
        (Missing(("del",), untried=True), "user u lacks del; what writes was not tried", "'+del'"),
    ],
)
def test_what_to_do_about_it(missing: Missing, text: str, advice: str) -> None:
    found = permissions.permissions("u", "shop", missing)
    assert found.text == text
    assert found.advice == (f"allow it: ACL SETUSER u {advice}" if advice else "")
    assert found.level is (WRONG if advice else OK)


def test_a_server_without_a_command() -> None:
    assert permissions.permissions("u", "shop", Missing(unknown=("eval",))).text == "the server has no eval"


@pytest.mark.parametrize(
    ("found", "tls", "user"),
    [
        (Protection(""), OK, OK),
        (Protection("localhost"), OK, OK),
        (Protection("127.0.0.1"), OK, OK),
        (Protection("redis.example.com"), NOTE, NOTE),
        (Protection("10.0.0.1", "shop", password=True), NOTE, OK),
        (Protection("10.0.0.1", "shop", password=True, tls=True, verified=True, named=True), OK, OK),
        (Protection("10.0.0.1", tls=True, verified=True), NOTE, NOTE),
        (Protection("10.0.0.1", tls=True), WRONG, NOTE),
        (Protection("localhost", tls=True), WRONG, OK),
    ],
    ids=repr,
)
def test_what_protects_it(found: Protection, tls: Level, user: Level) -> None:
    assert permissions.protection(found).level is tls
    assert permissions.user(found).level is user

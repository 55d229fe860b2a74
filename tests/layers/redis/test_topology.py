"""Which shard holds an address, and how a connection to it is made: over TCP, a Unix socket, Sentinels."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.credentials import UsernamePasswordCredentialProvider

from fast_channels.exceptions import ServerRefused
from fast_channels.layers.redis.config import parse_hosts
from fast_channels.layers.redis.connection import Connection
from fast_channels.layers.redis.keys import Addresses
from fast_channels.layers.redis.topology import Endpoint, shard_of
from fast_channels.testing.server import ServerProcess, free_port

CANARY = "canary-7f3a"

# Shards


@given(st.binary(), st.integers(1, 20))
def test_every_address_has_one_of_the_shards(address: bytes, shards: int) -> None:
    assert 0 <= shard_of(address, shards) < shards


@pytest.mark.parametrize(
    ("address", "shard"), [(b"asgi|g|room", 1), (b"asgi|c|jobs", 2), (b"asgi|i|0123456789abcdef", 0), (b"", 0)]
)
def test_a_shard_is_the_same_in_every_process_and_release(address: bytes, shard: int) -> None:
    assert shard_of(address, 3) == shard


@pytest.mark.parametrize("shards", [2, 3, 4])
def test_addresses_spread_evenly(shards: int) -> None:
    addresses = Addresses("asgi")
    counts = Counter(shard_of(addresses.group(f"room-{number}"), shards) for number in range(3000))
    assert all(abs(count - 3000 / shards) < 300 for count in counts.values())
    assert len(counts) == shards


# Connections


@pytest.fixture(scope="module")
def server(redis_server: ServerProcess) -> Iterator[ServerProcess]:
    """A server with a password and further users."""
    users = ["open on nopass ~* &* +@all", f"named on >{CANARY} ~* &* +@all"]
    with ServerProcess({"requirepass": CANARY, "user": users}, binary=redis_server.binary) as server:
        yield server


@asynccontextmanager
async def connected(endpoint: Endpoint) -> AsyncIterator[Connection]:
    connection = await endpoint.connect(lambda push: None, lambda: None)
    try:
        yield connection
    finally:
        connection.close(ConnectionError("the test is over"))
        await connection.lost


async def seen_by_the_server(endpoint: Endpoint) -> dict[str, str]:
    """The connection as the server sees it: its name, user, database, address, protocol."""
    async with connected(endpoint) as connection:
        line: bytes = await connection.execute("CLIENT", "INFO")
    return dict(field.split("=", 1) for field in line.decode().split())


def endpoint(host: Any, **options: Any) -> Endpoint:
    return Endpoint(parse_hosts([host], connection_kwargs=options)[0])


async def test_a_connection_is_greeted_in_resp3_with_a_name(redis_server: ServerProcess) -> None:
    seen = await seen_by_the_server(endpoint(redis_server.url))
    assert (seen["resp"], seen["name"], seen["user"], seen["db"]) == ("3", "fast-channels", "default", "0")


async def test_a_connection_is_in_its_database(redis_server: ServerProcess) -> None:
    assert (await seen_by_the_server(endpoint(f"{redis_server.url}/5")))["db"] == "5"


async def test_a_connection_has_the_name_that_its_options_give(redis_server: ServerProcess) -> None:
    assert (await seen_by_the_server(endpoint(redis_server.url, client_name="chat")))["name"] == "chat"


async def test_a_unix_socket_is_connected_to(redis_server: ServerProcess) -> None:
    seen = await seen_by_the_server(endpoint(f"unix://{redis_server.socket_path}?db=2"))
    assert ("U" in seen["flags"], seen["db"]) == (True, "2")


@pytest.mark.parametrize(
    ("options", "user"),
    [
        ({"password": CANARY}, "default"),
        ({"username": "default", "password": CANARY}, "default"),
        ({"username": "named", "password": CANARY}, "named"),
        ({"username": "open"}, "open"),
        ({"credential_provider": UsernamePasswordCredentialProvider("named", CANARY)}, "named"),
        ({"credential_provider": UsernamePasswordCredentialProvider(password=CANARY)}, "default"),
    ],
    ids=["password", "default user", "user", "user without a password", "provider", "provider of a password"],
)
async def test_a_connection_is_authenticated(server: ServerProcess, options: dict[str, Any], user: str) -> None:
    assert (await seen_by_the_server(endpoint(server.url, **options)))["user"] == user


@pytest.mark.parametrize(
    ("options", "answer"),
    [({"password": f"not-{CANARY}"}, "WRONGPASS"), ({}, "NOAUTH"), ({"username": CANARY}, "WRONGPASS")],
)
async def test_a_server_that_refuses_is_named_without_a_password(
    server: ServerProcess, options: dict[str, Any], answer: str
) -> None:
    with pytest.raises(ServerRefused, match=rf"^redis://127\.0\.0\.1:{server.port}/0 refused: {answer}") as caught:
        await endpoint(server.url, **options).connect(lambda push: None, lambda: None)
    assert CANARY not in str(caught.value)


async def test_a_database_that_does_not_exist_is_refused(redis_server: ServerProcess) -> None:
    with pytest.raises(ServerRefused, match="DB index is out of range"):
        await endpoint(f"{redis_server.url}/9999").connect(lambda push: None, lambda: None)


async def test_a_refused_connection_is_closed(redis_server: ServerProcess) -> None:
    with ServerProcess({"requirepass": CANARY}, binary=redis_server.binary) as server:
        with pytest.raises(ServerRefused):
            await endpoint(server.url).connect(lambda push: None, lambda: None)
        async with connected(endpoint(server.url, password=CANARY)) as connection:
            while (await connection.execute("CLIENT", "LIST")).count(b"\n") > 1:
                await asyncio.sleep(0)


async def test_nobody_there_is_an_os_error() -> None:
    with pytest.raises(OSError, match="Connect call failed"):
        await endpoint(("127.0.0.1", free_port())).connect(lambda push: None, lambda: None)


async def test_a_server_that_does_not_answer_is_given_up_in_time(redis_server: ServerProcess) -> None:
    with ServerProcess(binary=redis_server.binary) as stopped:
        stopped.pause()
        with pytest.raises(TimeoutError):
            await endpoint(stopped.url, socket_connect_timeout=0.05).connect(lambda push: None, lambda: None)


# Sentinels

NAME = "main"


def sentinel_of(master: ServerProcess) -> ServerProcess:
    config = {
        "sentinel monitor": f"{NAME} {master.host} {master.port} 1",
        "sentinel auth-pass": f"{NAME} {CANARY}",
        "requirepass": "secret-of-sentinels",
    }
    return ServerProcess(config, binary=master.binary, arguments=["--sentinel"])


@pytest.fixture(scope="module")
def sentinels(server: ServerProcess) -> Iterator[list[ServerProcess]]:
    """Two Sentinels that watch `server`; what they name is in `NAME`."""
    with sentinel_of(server) as one, sentinel_of(server) as two:
        yield [one, two]


def service(sentinels: list[ServerProcess], **changes: Any) -> Endpoint:
    nodes = [(sentinel.host, sentinel.port) for sentinel in sentinels]
    arguments: Mapping[str, Any] = {
        "service_name": NAME,
        "sentinel_kwargs": {"password": "secret-of-sentinels"},
        "connection_kwargs": {"password": CANARY, "db": 3, "socket_connect_timeout": 3},
        **changes,
    }
    return Endpoint(parse_hosts(None, sentinels=nodes, **arguments)[0])


async def test_the_master_is_the_one_that_the_sentinels_name(
    server: ServerProcess, sentinels: list[ServerProcess]
) -> None:
    seen = await seen_by_the_server(service(sentinels))
    assert (seen["laddr"], seen["db"], seen["user"]) == (f"127.0.0.1:{server.port}", "3", "default")


async def test_a_sentinel_that_is_down_is_passed_over_at_once(
    server: ServerProcess, sentinels: list[ServerProcess]
) -> None:
    """redis-py would try that one again and again, for longer than the time there is."""
    loop = asyncio.get_running_loop()
    with sentinel_of(server) as down:
        down.kill()
        began = loop.time()
        await seen_by_the_server(service([down, down, down, sentinels[0]]))
    assert loop.time() - began < 2


async def test_a_sentinel_that_does_not_answer_leaves_time_for_the_next(
    server: ServerProcess, sentinels: list[ServerProcess]
) -> None:
    with sentinel_of(server) as stopped:
        stopped.pause()
        options = {"password": CANARY, "socket_connect_timeout": 1.5}
        seen = await seen_by_the_server(service([stopped, sentinels[0]], connection_kwargs=options))
    assert seen["laddr"] == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"service_name": "other"}, "it knows no master 'other' that is up"),
        ({"sentinel_kwargs": {"password": f"not-{CANARY}"}}, "invalid username-password pair"),
    ],
    ids=["unknown service", "wrong password"],
)
async def test_what_each_sentinel_answered_is_in_the_error(
    sentinels: list[ServerProcess], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConnectionError) as caught:
        await service(sentinels, **changes).connect(lambda push: None, lambda: None)
    text = str(caught.value)
    assert text.startswith("no Sentinel names a master (")
    assert all(f"127.0.0.1:{sentinel.port}: {said}" in text for sentinel in sentinels)
    assert CANARY not in text


async def test_a_master_that_refuses_is_named_by_its_service(sentinels: list[ServerProcess]) -> None:
    nodes = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
    with pytest.raises(ServerRefused, match=rf"^sentinel://{nodes}/{NAME} refused: WRONGPASS"):
        await service(sentinels, connection_kwargs={"password": "wrong"}).connect(lambda push: None, lambda: None)


async def test_no_sentinel_is_a_connection_error_that_names_them_all() -> None:
    ports = free_port(), free_port()
    where = parse_hosts(None, sentinels=[("127.0.0.1", port) for port in ports], service_name=NAME)[0]
    with pytest.raises(ConnectionError, match=f"127.0.0.1:{ports[0]}: .*; 127.0.0.1:{ports[1]}: "):
        await Endpoint(where).connect(lambda push: None, lambda: None)

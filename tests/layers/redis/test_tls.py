"""TLS to real servers and Sentinels: verified by default, each on its own, and refused with the reason."""

import asyncio
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.layers.redis.certificates import explained
from fast_channels.testing.server import ServerProcess, free_port
from tests.support.loops import both_loops
from tests.support.tls import Authority, refused
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.tls

Layer = type[RedisChannelLayer] | type[RedisPubSubChannelLayer]

each_layer = pytest.mark.parametrize("kind", [RedisChannelLayer, RedisPubSubChannelLayer])

UNKNOWN = r"the certificate of localhost was issued by an unknown authority: set ssl_ca_certs to a file"
OTHER_NAME = r"the certificate of 127\.0\.0\.1 is not for this host name: "


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other-authority"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[ServerProcess]:
    with authority.server("localhost") as server:
        yield server


async def works(layer: RedisChannelLayer | RedisPubSubChannelLayer) -> None:
    async with layer, asyncio.timeout(PATIENCE):
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_send("room", {"type": "heard"})
        assert await layer.receive(channel) == {"type": "heard"}


# Servers


@both_loops
@each_layer
@pytest.mark.parametrize("form", ["url", "dict with url", "dict with host", "connection_kwargs"])
async def test_a_layer_works_over_tls(server: ServerProcess, authority: Authority, kind: Layer, form: str) -> None:
    url, trusted = f"rediss://localhost:{server.port}", authority.file
    options: dict[str, dict[str, Any]] = {
        "url": {"hosts": [f"{url}?ssl_ca_certs={trusted}"]},
        "dict with url": {"hosts": [{"address": url, "ssl_ca_certs": trusted}]},
        "dict with host": {"hosts": [{"host": "localhost", "port": server.port, "ssl": True, "ssl_ca_certs": trusted}]},
        "connection_kwargs": {
            "hosts": [("localhost", server.port)],
            "connection_kwargs": {"ssl": True, "ssl_ca_certs": trusted},
        },
    }
    await works(kind(prefix=f"tls-{form}", **options[form]))


CANNOT_BE_TRUSTED = [
    pytest.param("rediss://localhost:{port}", {}, UNKNOWN, id="an authority that nobody trusts"),
    pytest.param("rediss://localhost:{port}", {"ssl_ca_certs": "{other}"}, UNKNOWN, id="another authority"),
    pytest.param("rediss://127.0.0.1:{port}", {"ssl_ca_certs": "{trusted}"}, OTHER_NAME, id="another name"),
    pytest.param(
        "rediss://localhost:{port}", {"ssl_ca_certs": "/no/such.pem"}, "a file that its TLS options name", id="no file"
    ),
]


@both_loops
@each_layer
@pytest.mark.parametrize(("url", "options", "reason"), CANNOT_BE_TRUSTED)
async def test_a_server_that_cannot_be_trusted_is_refused_with_the_reason(
    server: ServerProcess,
    authority: Authority,
    other_authority: Authority,
    kind: Layer,
    url: str,
    options: dict[str, str],
    reason: str,
) -> None:
    values = {"port": server.port, "trusted": authority.file, "other": other_authority.file}
    given = {name: value.format(**values) for name, value in options.items()}
    label = url.format(**values)
    async with kind(hosts=[label], connection_kwargs=given, send_timeout=0.2) as layer:
        said = await refused(
            lambda: layer.send("jobs", {"type": "secret"}), rf"^{label}/0 cannot be reached \(.*\): {reason}"
        )
        assert "is it running" not in said


@each_layer
@pytest.mark.parametrize("options", [{"ssl_check_hostname": False}, {"ssl_cert_reqs": "none"}], ids=str)
async def test_it_is_trusted_nevertheless_if_one_says_so(
    server: ServerProcess, authority: Authority, kind: Layer, options: dict[str, Any]
) -> None:
    """What shows that it was the verification that refused."""
    host = {"host": "127.0.0.1", "port": server.port, "ssl": True, "ssl_ca_certs": authority.file, **options}
    await works(kind(hosts=[host], prefix="unverified"))


def test_what_has_nothing_to_do_with_tls_is_left_as_it_is() -> None:
    error = ConnectionRefusedError("no")
    assert explained(error, "h") is error
    other = ssl.SSLError(1, "something else")
    assert explained(other, "h") is other


def test_a_certificate_that_is_over_is_told_with_the_reason() -> None:
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_code, error.verify_message = 10, "certificate has expired"
    assert str(explained(error, "h")) == "the certificate of h is not accepted: certificate has expired"


# Sentinels: of another authority than their servers


@pytest.fixture(scope="module")
def sentinel(
    server: ServerProcess,
    authority: Authority,
    other_authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ServerProcess]:
    """Its own certificate is of `other_authority`, that of the servers of `authority`."""
    both = tmp_path_factory.mktemp("both") / "both.pem"
    both.write_text(Path(authority.file).read_text() + Path(other_authority.file).read_text())
    config = {
        "tls-replication": "yes",
        "sentinel resolve-hostnames": "yes",
        "sentinel announce-hostnames": "yes",
        "sentinel monitor": f"mymaster localhost {server.port} 1",
    }
    sentinel = other_authority.server("localhost", trusts=str(both), arguments=("--sentinel",), config=config)
    with sentinel:
        yield sentinel


def on_sentinel(
    kind: Layer,
    sentinel: ServerProcess,
    of_sentinels: dict[str, Any],
    of_servers: dict[str, Any],
    host: str,
    **options: Any,
) -> RedisChannelLayer | RedisPubSubChannelLayer:
    return kind(
        sentinels=[(host, sentinel.port)],
        service_name="mymaster",
        sentinel_kwargs={"ssl": True, **of_sentinels},
        connection_kwargs={"ssl": True, **of_servers},
        prefix="on-sentinel",
        **options,
    )


@both_loops
@each_layer
async def test_sentinels_and_servers_are_verified_each_on_their_own(
    sentinel: ServerProcess, authority: Authority, other_authority: Authority, kind: Layer
) -> None:
    of_sentinels, of_servers = {"ssl_ca_certs": other_authority.file}, {"ssl_ca_certs": authority.file}
    await works(on_sentinel(kind, sentinel, of_sentinels, of_servers, "localhost"))


@each_layer
@pytest.mark.parametrize(
    ("of_sentinels", "of_servers", "host", "reason"),
    [
        pytest.param("other", "other", "localhost", rf": {UNKNOWN}", id="the server's authority"),
        pytest.param("own", "own", "localhost", rf"no Sentinel names .*localhost:\d+: {UNKNOWN}", id="the Sentinel's"),
        pytest.param("", "own", "localhost", rf"no Sentinel names .*localhost:\d+: {UNKNOWN}", id="nothing"),
        pytest.param("other", "own", "127.0.0.1", rf"127\.0\.0\.1:\d+: {OTHER_NAME}", id="the Sentinel's name"),
    ],
)
async def test_a_sentinel_or_a_server_that_cannot_be_trusted_is_refused_with_the_reason(
    sentinel: ServerProcess,
    authority: Authority,
    other_authority: Authority,
    kind: Layer,
    of_sentinels: str,
    of_servers: str,
    host: str,
    reason: str,
) -> None:
    files = {"own": {"ssl_ca_certs": authority.file}, "other": {"ssl_ca_certs": other_authority.file}, "": {}}
    layer = on_sentinel(kind, sentinel, files[of_sentinels], files[of_servers], host, send_timeout=0.5)
    async with layer:
        said = await refused(lambda: layer.send("jobs", {"type": "secret"}), reason)
        assert "is it running" not in said


# A Cluster: each node is verified, by the name under which the Cluster knows it


@pytest.fixture(scope="module", params=[True, False], ids=["known by name", "known by address"])
def cluster(request: pytest.FixtureRequest, authority: Authority) -> Iterator[tuple[ServerProcess, bool]]:
    """A Cluster of one node, and whether it goes by the name that its certificate has."""
    config = {"cluster-enabled": "yes", "cluster-port": free_port(), "tls-cluster": "yes"}
    config["cluster-announce-ip"] = "127.0.0.1"
    by_name = {"cluster-announce-hostname": "localhost", "cluster-preferred-endpoint-type": "hostname"}
    with authority.server("localhost", config={**config, **(by_name if request.param else {})}) as server:
        with Redis(unix_socket_path=str(server.socket_path)) as admin:
            admin.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            while b"cluster_state:ok" not in admin.execute_command("CLUSTER", "INFO"):
                time.sleep(0.01)
        yield server, request.param


@each_layer
async def test_the_nodes_of_a_cluster_are_verified(
    cluster: tuple[ServerProcess, bool], authority: Authority, kind: Layer
) -> None:
    server, by_name = cluster
    hosts = [{"host": "localhost", "port": server.port, "ssl": True, "ssl_ca_certs": authority.file}]
    if by_name:
        await works(kind(hosts=hosts, cluster=True, prefix="tls-cluster"))
        return
    async with kind(hosts=hosts, cluster=True, prefix="tls-cluster", send_timeout=0.5) as layer:
        await refused(lambda: layer.send("jobs", {"type": "secret"}), OTHER_NAME)


@each_layer
async def test_a_cluster_of_an_unknown_authority_is_refused(cluster: tuple[ServerProcess, bool], kind: Layer) -> None:
    server, _ = cluster
    hosts = [{"host": "localhost", "port": server.port, "ssl": True}]
    async with kind(hosts=hosts, cluster=True, prefix="tls-cluster", send_timeout=0.5) as layer:
        await refused(lambda: layer.send("jobs", {"type": "secret"}), UNKNOWN)

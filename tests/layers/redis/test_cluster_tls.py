"""A Cluster whose nodes have certificates of two authorities: each node is verified, and refused by name."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis import Redis

from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.layers.redis.keys import Addresses, QueueKeys
from fast_channels.testing.server import ServerProcess, free_port
from tests.support.clusters import SLOTS, slot_of, wait_for
from tests.support.tls import Authority, refused

pytestmark = pytest.mark.tls

Layer = RedisChannelLayer | RedisPubSubChannelLayer

each_layer = pytest.mark.parametrize("kind", [RedisChannelLayer, RedisPubSubChannelLayer])

MESSAGE = {"type": "test"}


class Nodes(NamedTuple):
    """Two masters with half of the slots each, and the files of those who vouch for them."""

    first: ServerProcess
    second: ServerProcess
    of_first: str
    of_both: str


def config_of_a_node() -> dict[str, Any]:
    return {
        "cluster-enabled": "yes",
        "cluster-port": free_port(),
        "tls-cluster": "yes",
        "cluster-announce-ip": "127.0.0.1",
        "cluster-announce-hostname": "localhost",
        "cluster-preferred-endpoint-type": "hostname",
    }


def ask(node: ServerProcess, *command: Any) -> Any:
    with Redis(unix_socket_path=str(node.socket_path), decode_responses=True) as admin:
        return admin.execute_command(*command)


def join(first: ServerProcess, second: ServerProcess) -> None:
    """Make a Cluster of two nodes, which know each other by name."""
    half = SLOTS // 2
    ask(first, "CLUSTER", "ADDSLOTSRANGE", 0, half - 1)
    ask(second, "CLUSTER", "ADDSLOTSRANGE", half, SLOTS - 1)
    ask(second, "CLUSTER", "SET-CONFIG-EPOCH", 2)
    ask(first, "CLUSTER", "MEET", "127.0.0.1", second.port, second.config["cluster-port"])

    def known(node: ServerProcess) -> bool:
        ranges = ask(node, "CLUSTER", "SLOTS")
        names = [master[0] for _, _, master, *_ in ranges]
        return "cluster_state:ok" in ask(node, "CLUSTER", "INFO") and names == ["localhost", "localhost"]

    for node in (first, second):
        wait_for(lambda: known(node), f"{node} does not know the other one")  # noqa: B023


@contextmanager
def two_nodes(folder: Path, name_of_second: str, *, by_another: bool) -> Iterator[Nodes]:
    """`by_another`: whether the second node's certificate is of another authority."""
    (folder / "one").mkdir()
    (folder / "two").mkdir()
    one, two = Authority(folder / "one"), Authority(folder / "two")
    both = folder / "both.pem"
    both.write_text(Path(one.file).read_text() + Path(two.file).read_text())
    with ExitStack() as stack:
        first = stack.enter_context(one.server("localhost", trusts=str(both), config=config_of_a_node()))
        second = stack.enter_context(
            (two if by_another else one).server(name_of_second, trusts=str(both), config=config_of_a_node())
        )
        join(first, second)
        yield Nodes(first, second, one.file, str(both))


@pytest.fixture(scope="module")
def of_two_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with two_nodes(tmp_path_factory.mktemp("authorities"), "localhost", by_another=True) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def of_two_names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """The second one's certificate is not for the name by which the Cluster knows it."""
    with two_nodes(tmp_path_factory.mktemp("names"), "elsewhere.example.com", by_another=False) as nodes:
        yield nodes


def make(kind: type[Layer], nodes: Nodes, trusted: str, **options: Any) -> Layer:
    """A layer that is told of the first node only."""
    host = {"host": "localhost", "port": nodes.first.port, "ssl": True, "ssl_ca_certs": trusted, **options}
    return kind(hosts=[host], cluster=True, send_timeout=1)


def channels() -> tuple[dict[type[Layer], str], dict[type[Layer], str]]:
    """For each layer, a shared channel that is on the first node, and one that is on the second."""
    places: dict[type[Layer], Callable[[str], bytes]] = {
        RedisChannelLayer: lambda name: QueueKeys("asgi").shared(name).ready,
        RedisPubSubChannelLayer: lambda name: Addresses("asgi").shared(name),
    }
    found: tuple[dict[type[Layer], str], dict[type[Layer], str]] = {}, {}
    for kind, place in places.items():
        for number in range(50):
            found[slot_of(place(f"jobs-{number}")) >= SLOTS // 2].setdefault(kind, f"jobs-{number}")
    return found


ON_FIRST, ON_SECOND = channels()


@each_layer
async def test_with_the_authorities_of_all_nodes_all_are_spoken_to(
    of_two_authorities: Nodes, kind: type[Layer]
) -> None:
    async with make(kind, of_two_authorities, of_two_authorities.of_both) as layer:
        await layer.send(ON_FIRST[kind], MESSAGE)
        await layer.send(ON_SECOND[kind], MESSAGE)


@each_layer
async def test_the_node_whose_authority_is_not_trusted_is_refused_and_named_and_the_other_is_not(
    of_two_authorities: Nodes, kind: type[Layer]
) -> None:
    nodes = of_two_authorities
    async with make(kind, nodes, nodes.of_first) as layer:
        await layer.send(ON_FIRST[kind], MESSAGE)
        said = await refused(lambda: layer.send(ON_SECOND[kind], MESSAGE), "certificate")
        assert said.startswith(
            f"rediss://localhost:{nodes.second.port}/0 cannot be reached (waited 1.0 s): the certificate of localhost"
            " was issued by an unknown authority: set ssl_ca_certs to a file"
        )
        assert "is it running" not in said
        await layer.send(ON_FIRST[kind], MESSAGE)


@each_layer
async def test_the_node_whose_certificate_is_for_another_name_is_refused_and_named(
    of_two_names: Nodes, kind: type[Layer]
) -> None:
    nodes = of_two_names
    async with make(kind, nodes, nodes.of_first) as layer:
        await layer.send(ON_FIRST[kind], MESSAGE)
        said = await refused(lambda: layer.send(ON_SECOND[kind], MESSAGE), "certificate")
        assert said == (
            f"rediss://localhost:{nodes.second.port}/0 cannot be reached (waited 1.0 s): the certificate of localhost"
            " is not for this host name: write the host as its certificate names it"
        )


async def test_who_cannot_listen_at_a_node_is_told_the_same(of_two_authorities: Nodes) -> None:
    nodes = of_two_authorities
    groups = (f"room-{number}" for number in range(50))
    group = next(group for group in groups if slot_of(Addresses("asgi").group(group)) >= SLOTS // 2)
    async with make(RedisPubSubChannelLayer, nodes, nodes.of_both) as trusting:
        await trusting.group_add(group, await trusting.new_channel())
    async with make(RedisPubSubChannelLayer, nodes, nodes.of_first) as layer:

        async def listen() -> None:  # one of both is on that node, wherever the inbox of the layer is
            await layer.group_add(group, await layer.new_channel())

        await refused(listen, rf"^rediss://localhost:{nodes.second.port}/0 cannot be reached .*an unknown authority")


@each_layer
@pytest.mark.parametrize("options", [{"ssl_check_hostname": False}, {"ssl_cert_reqs": "none"}], ids=str)
async def test_it_is_trusted_nevertheless_if_one_says_so(
    of_two_names: Nodes, kind: type[Layer], options: dict[str, Any]
) -> None:
    """The twin: it was the verification of this node that refused."""
    async with make(kind, of_two_names, of_two_names.of_first, **options) as layer:
        await layer.send(ON_SECOND[kind], MESSAGE)


@each_layer
async def test_seeds_that_are_not_trusted_are_named_each_with_the_reason(
    of_two_authorities: Nodes, of_two_names: Nodes, kind: type[Layer]
) -> None:
    """Two nodes to begin with, of which neither can be trusted, each for a reason of its own."""
    hosts = [
        {"host": "localhost", "port": port, "ssl": True, "ssl_ca_certs": of_two_names.of_first}
        for port in (of_two_authorities.second.port, of_two_names.second.port)
    ]
    unknown, other = of_two_authorities.second.port, of_two_names.second.port
    of_an_unknown_authority = f"localhost:{unknown}: the certificate of localhost was issued by an unknown authority"
    for_another_name = f"localhost:{other}: the certificate of localhost is not for this host name"
    async with kind(hosts=hosts, cluster=True, send_timeout=1) as layer:
        said = await refused(
            lambda: layer.send("jobs", MESSAGE), f"(?=.*{of_an_unknown_authority})(?=.*{for_another_name})"
        )
        assert "is it running" not in said
        await refused(layer.new_channel, f"no node of the cluster.*{of_an_unknown_authority}")

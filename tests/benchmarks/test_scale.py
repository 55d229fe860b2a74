"""What many processes cost: the formula, the table, and a small fleet that is really measured."""

import pytest

from benchmarks.scale.__main__ import throughput, watch
from benchmarks.scale.fleet import Count
from benchmarks.scale.report import Costs, Result, Throughput, core_share, markdown
from fast_channels.testing.server import ServerProcess
from tests.support.clusters import ClusterOfServers

COSTS = Costs(
    process=Count(cpu=100e-6),
    membership=Count(cpu=1e-6),
    send=Count(cpu=10e-6),
    send_each=Count(commands=5, bytes_in=300, bytes_out=200, cpu=20e-6),
)


@pytest.mark.parametrize(
    ("processes", "groups", "sends", "span", "cores"),
    [
        (0, 0, 0, 0, 0.0),
        (1000, 0, 0, 0, 0.1),
        (1000, 100, 0, 0, 0.2),
        (0, 0, 1000, 0, 0.01),
        (0, 0, 1000, 10, 0.21),
        (1000, 100, 1000, 10, 0.41),
    ],
)
def test_the_formula(processes: int, groups: int, sends: float, span: float, cores: float) -> None:
    assert core_share(COSTS, processes, groups, sends, span) == pytest.approx(cores)


def test_counts_are_added_and_taken_off() -> None:
    one, other = Count(4, 30, 20, 1.0), Count(2, 10, 10, 0.5)
    assert one - other == Count(2, 20, 10, 0.5)
    assert one + other == Count(6, 40, 30, 1.5)
    assert one / 2 == Count(2, 15, 10, 0.5)


def test_the_tables_say_what_was_measured() -> None:
    run = Throughput(
        servers=1, members=4, sends_per_second=1234.5, deliveries_per_second=5678.9, cpu_per_send=[1e-6, 2e-6]
    )
    machine = {"cores": "2", "cpu": "some", "python": "CPython 3", "server": "Valkey 9"}
    text = markdown([Result("queue", 50, COSTS, Count(cpu=0.001), Count(cpu=0.002), 100, run, run)], machine)
    assert "| queue | and for each process that the group spans | 5.00 | 300.00 | 200.00 | 20.00 |" in text
    assert "| queue | a Cluster of three masters | 1,234 | 5,679 | 1.0 + 2.0 |" in text
    assert "1,000 processes with 1,000,000 connections" in text


@pytest.mark.parametrize("layer", ["queue", "pubsub"])
async def test_a_small_fleet_is_measured(layer: str) -> None:
    found = (await watch(layer, processes=3, seconds=1.5, sends=40)).costs
    assert found.send_each.bytes_out > 80  # each process gets its copy of the payload
    assert found.process.cpu > 0
    with ServerProcess() as server:
        run = await throughput(layer, [server.url], cluster=False, members=2, sends=32)
    assert run.deliveries_per_second == pytest.approx(2 * run.sends_per_second)
    assert run.servers == len(run.cpu_per_send) == 1


@pytest.mark.parametrize("layer", ["queue", "pubsub"])
async def test_a_cluster_carries_the_groups(layer: str, cluster: ClusterOfServers) -> None:
    run = await throughput(layer, cluster.urls, cluster=True, members=2, sends=64)
    assert run.servers == len(run.cpu_per_send) == 3
    assert run.deliveries_per_second == pytest.approx(2 * run.sends_per_second)

"""The Cluster that other tests rely on does what it says."""

import time

from tests.support.clusters import QUICK, SLOTS, ClusterOfServers, slot_of, wait_for


def test_a_cluster_of_six_is_up_in_seconds_and_everybody_has_their_place() -> None:
    began = time.monotonic()
    with ClusterOfServers(3, replicas=1, node_timeout=QUICK) as cluster:
        assert time.monotonic() - began < 10, "servers wait for two seconds by themselves"
        masters, replicas = cluster.nodes[:3], cluster.nodes[3:]
        assert [cluster.is_master(node) for node in cluster.nodes] == [True] * 3 + [False] * 3
        assert [cluster.replica_of(master) for master in masters] == replicas
        assert cluster.owner_of(0) is masters[0]
        assert cluster.owner_of(SLOTS - 1) is masters[2]
        cluster.fail_over(replicas[0])
        wait_for(lambda: cluster.owner_of(0) is replicas[0], "its master's slots are its own")
    assert cluster.nodes == []


def test_a_slot_and_its_keys_move(cluster: ClusterOfServers) -> None:
    slot = slot_of("moving")
    owner = cluster.owner_of(slot)
    to = cluster.other_master(owner)
    cluster.ask(owner, "SET", "moving", "x")
    cluster.move_slot(slot, to)
    assert cluster.owner_of(slot) is to
    assert cluster.ask(to, "GET", "moving") == "x"
    assert cluster.keys_in(slot, owner) == []
    cluster.ask(to, "DEL", "moving")

"""The rules by which a server is judged: tables, without a server."""

from collections.abc import Mapping

import pytest

from fast_channels.layers.findings import Finding, Level
from fast_channels.layers.redis import rules

OK, NOTE, WRONG = Level


@pytest.mark.parametrize(
    ("info", "level", "text"),
    [
        ({"redis_version": "7.0.15"}, OK, "Redis 7.0.15"),
        ({"redis_version": "6.2.14"}, WRONG, "it is Redis 6.2.14, which lacks what the layer needs"),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.0"}, OK, "Valkey 9.1.0"),
        ({"redis_version": "7.2.4", "valkey_version": "7.1.0"}, WRONG, "it is Valkey 7.1.0, which"),
        ({}, NOTE, "it does not say which Redis it is"),
    ],
)
def test_the_version(info: Mapping[str, str], level: Level, text: str) -> None:
    found = rules.version(info)
    assert (found.level, found.subject) == (level, "version")
    assert found.text.startswith(text)


@pytest.mark.parametrize(
    ("policy", "keeps", "level"),
    [
        ("noeviction", True, OK),
        ("allkeys-lru", True, WRONG),
        ("volatile-ttl", True, WRONG),
        ("allkeys-lru", False, OK),
    ],
)
def test_what_it_does_when_its_memory_is_full(policy: str, keeps: bool, level: Level) -> None:
    assert rules.eviction({"maxmemory_policy": policy}, keeps=keeps).level is level


@pytest.mark.parametrize(
    ("info", "save", "keeps", "level"),
    [
        ({"aof_enabled": "1"}, "", True, OK),
        ({"aof_enabled": "0"}, "", True, WRONG),
        ({"aof_enabled": "0"}, "3600 1", True, NOTE),
        ({"aof_enabled": "0"}, None, True, NOTE),
        ({"aof_enabled": "1", "aof_last_write_status": "err"}, "", True, WRONG),
        ({"aof_enabled": "0", "rdb_last_bgsave_status": "err"}, "3600 1", True, WRONG),
        ({"aof_enabled": "0"}, "", False, OK),
    ],
)
def test_what_a_restart_leaves(info: Mapping[str, str], save: str | None, keeps: bool, level: Level) -> None:
    found = rules.persistence(info, save, keeps=keeps)
    assert found.level is level
    assert bool(found.advice) is (level is not OK)


@pytest.mark.parametrize(
    ("used", "limit", "level", "text"),
    [
        ("1048576", "0", OK, "1 MB used, no maxmemory"),
        ("1048576", "10485760", OK, "1 MB of 10 MB used"),
        ("9437184", "10485760", WRONG, "9 MB of 10 MB used: nearly full"),
    ],
)
def test_how_much_room_is_left(used: str, limit: str, level: Level, text: str) -> None:
    found = rules.memory({"used_memory": used, "maxmemory": limit})
    assert (found.level, found.text) == (level, text)


MB = 1 << 20
CUT_OFF = "a process that does not read what is published is cut off at"


@pytest.mark.parametrize(
    ("limits", "level", "text"),
    [
        ("0 0 0", OK, "client-output-buffer-limit has no limit"),
        (f"{32 * MB} {8 * MB} 60", OK, f"{CUT_OFF} 32 MB or 8 MB for 60 s"),
        (f"0 {8 * MB} 60", OK, f"{CUT_OFF} 8 MB for 60 s"),
        (f"{MB} 0 0", WRONG, f"{CUT_OFF} 1 MB, and one message may have 16 MB"),
    ],
)
def test_when_who_does_not_read_is_cut_off(limits: str, level: Level, text: str) -> None:
    normal, pubsub = rules.buffers(f"normal 0 0 0 slave 1 1 1 pubsub {limits}", 16 * MB)
    assert (normal.level, normal.subject, pubsub.subject) == (OK, "normal buffer", "pubsub buffer")
    assert pubsub.level is level
    assert pubsub.text.startswith(text)


@pytest.mark.parametrize(
    ("round_trips", "level", "text"),
    [
        ([0.0001] * 100, OK, "p50 0.10 ms, p99 0.10 ms (100 round trips)"),
        ([0.02] * 100, NOTE, "p50 20.00 ms, p99 20.00 ms (100 round trips)"),
        ([0.0001] * 98 + [1.5] * 2, WRONG, "p50 0.10 ms, p99 1500.00 ms (100 round trips)"),
    ],
)
def test_how_far_it_is(round_trips: list[float], level: Level, text: str) -> None:
    found = rules.latency(round_trips)
    assert (found.level, found.text) == (level, text)


@pytest.mark.parametrize(("ahead", "level"), [(0.1, OK), (-1.9, OK), (2.6, NOTE), (-90.0, NOTE), (2.4, OK)])
def test_its_clock(ahead: float, level: Level) -> None:
    assert rules.clock(rules.Clock(ahead, within=0.5)).level is level


def test_a_node_of_a_cluster_is_noticed() -> None:
    found = rules.cluster_mode({"cluster_enabled": "1"}, expected=False)
    assert found == Finding(WRONG, "topology", "it is a node of a Cluster", "give the layer cluster=True")
    assert rules.cluster_mode({"cluster_enabled": "1"}, expected=True) is None
    assert rules.cluster_mode({"cluster_enabled": "0"}, expected=False) is None


def test_complaints_are_what_is_wrong_for_the_queue_with_what_to_do() -> None:
    info = {"redis_version": "7.0.0", "maxmemory_policy": "allkeys-lru", "aof_enabled": "0"}
    assert rules.complaints(info, "") == [
        "maxmemory-policy is allkeys-lru: when its memory is full it drops messages; set it to noeviction",
        "it keeps nothing on disk: when it is restarted, every message is lost; set appendonly to yes",
    ]


@pytest.mark.parametrize(
    ("values", "percent", "found"), [([], 50, 0.0), ([3, 1, 2], 50, 2), ([1, 2, 3], 99, 3), ([1], 50, 1)]
)
def test_percentiles(values: list[float], percent: float, found: float) -> None:
    assert rules.percentile(values, percent) == found

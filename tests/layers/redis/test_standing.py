"""Whether others can take over: tables, without a server."""

from typing import Any

import pytest

from fast_channels.layers.findings import Level
from fast_channels.layers.redis.standing import Witness, replicas, sentinels, slots

OK, NOTE, WRONG = Level


@pytest.mark.parametrize(
    ("count", "kind", "replicated", "level"),
    [
        ("0", "alone", False, OK),
        ("1", "alone", False, OK),
        ("0", "alone", True, WRONG),
        ("1", "alone", True, OK),
        ("0", "sentinel", False, WRONG),
        ("2", "sentinel", False, OK),
        ("0", "cluster", False, NOTE),
        ("1", "cluster", False, OK),
    ],
)
def test_replicas(count: str, kind: str, replicated: bool, level: Level) -> None:
    found = replicas({"connected_slaves": count}, kind, replicated=replicated)
    assert found.level is level
    assert bool(found.advice) is (level is not OK)


def says(port: int = 6379, others: int = 2, quorum: int = 2) -> dict[str, Any]:
    return {"ip": "10.0.0.1", "port": port, "num-other-sentinels": others, "quorum": quorum}


A, B, C = (Witness(name, says()) for name in ("a:1", "b:1", "c:1"))


@pytest.mark.parametrize(
    ("witnesses", "levels", "text"),
    [
        ([A, B, C], [OK], "3 of 3 Sentinels of 'main' answer, quorum 2"),
        ([A, B], [OK], "2 of 3 Sentinels of 'main' answer, quorum 2"),
        ([A, B, Witness("c:1", {}, "refused")], [WRONG, OK], "Sentinel c:1 does not answer: refused"),
        ([A, Witness("b:1", {}, "x"), Witness("c:1", {}, "x")], [WRONG] * 3, "Sentinel b:1 does not answer: x"),
        ([A, B, Witness("c:1", {})], [WRONG, OK], "Sentinel c:1 knows no master 'main'"),
        ([A, B, Witness("c:1", says(port=1))], [WRONG, OK], "the Sentinels name different masters: 10.0.0.1:1, 10.0"),
        ([Witness("a:1", says(others=0, quorum=1))], [NOTE], "1 of 1 Sentinels of 'main' answer, quorum 1: with fewer"),
        ([Witness("a:1", {}, "x")], [WRONG], "Sentinel a:1 does not answer: x"),
    ],
)
def test_sentinels(witnesses: list[Witness], levels: list[Level], text: str) -> None:
    found = sentinels("main", witnesses)
    assert [each.level for each in found] == levels
    assert found[0].text.startswith(text)
    assert all(each.advice for each in found if each.level is not OK)


@pytest.mark.parametrize(
    ("unserved", "masters", "level", "text"),
    [
        (0, 3, OK, "3 masters serve all slots"),
        (0, 1, NOTE, "1 masters serve all slots; fewer than three elect no new master"),
        (5461, 2, WRONG, "5461 of 16384 slots have no master: some channels and groups do not work"),
    ],
)
def test_slots(unserved: int, masters: int, level: Level, text: str) -> None:
    found = slots(unserved, masters)
    assert (found.level, found.text) == (level, text)

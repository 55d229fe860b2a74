"""What a message to a group takes is the server's own count, and every process of the group answers for what it got."""

from dataclasses import replace
from typing import Any

import pytest

from benchmarks import program
from benchmarks.rows import OURS_NAME, chosen_rows
from benchmarks.runner import Results, plan, run_all
from benchmarks.workloads.scaling_member import GROUP, Member
from fast_channels.layers import InMemoryChannelLayer


def measured(**parameters: Any) -> tuple[Results, list[dict[str, Any]]]:
    [row] = chosen_rows(["pubsub.scaling"], ["asyncio"], quick=True)
    subjects = tuple(subject for subject in row.subjects if subject.library == OURS_NAME)
    row = replace(row, parameters={**row.parameters, **parameters}, subjects=subjects)
    done: list[dict[str, Any]] = []
    return run_all(list(plan([row], 1)), lambda run, result: done.append(result)), done


def test_each_size_is_counted_and_every_channel_gets_everything() -> None:
    results, [result] = measured(processes=2, sizes=(2, 6))
    assert results.failures == []
    assert result["count"] == 20 * (2 + 6)
    assert set(result["group_send"]) == {"2", "6"}
    assert result["group_send"]["6"]["commands"] == 1
    assert result["growth"] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("copies", "lost", "duplicated"), [(0, 3, 0), (1, 0, 0), (2, 0, 3)])
async def test_a_member_says_what_it_lost_and_got_twice(
    copies: int, lost: int, duplicated: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "STALL_SECONDS", 0.05)
    layer = InMemoryChannelLayer()
    member = Member(layer)
    await member.grow(3)
    for number in [0, *[1] * copies]:
        await layer.group_send(GROUP, {"type": "bench.message", "number": number})
    await member.received(2)
    got = await member.received(2)
    member.leave()
    assert (got["lost"], got["duplicated"]) == (lost, duplicated)

"""The verdict of a soak: what grows is seen, and what only fills up or jumps is not."""

import random
import subprocess
import sys

import pytest

from benchmarks.soak.samples import LIMITS, MEGABYTE, limit_of
from benchmarks.soak.verdict import Limit, trend_of, without_warm_up
from tests.support.waiting import PATIENCE

Samples = list[tuple[float, float]]

LIMIT = Limit(1.0, 0.01)


def flat(level: float = 100.0, noise: float = 0.0) -> Samples:
    chance = random.Random(7)
    return [(float(second), level + noise * chance.uniform(-1, 1)) for second in range(100)]


def test_the_trend_of_a_line_is_the_line() -> None:
    trend = trend_of([(second, 5 + 2 * second) for second in range(10, 21)])
    assert (trend.start, trend.growth) == pytest.approx((25, 20))
    assert trend.error == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("noise", [0.0, 1.0, 30.0])
def test_what_jumps_up_and_down_does_not_grow(noise: float) -> None:
    assert not trend_of(flat(noise=noise)).grows(LIMIT)


@pytest.mark.parametrize("noise", [0.0, 1.0, 5.0])
def test_what_rises_grows(noise: float) -> None:
    rising = [(time, value + time / 10) for time, value in flat(noise=noise)]
    assert trend_of(rising).grows(LIMIT)


def test_what_grows_by_less_than_the_limit_is_let_pass() -> None:
    slowly = [(time, value + time / 100) for time, value in flat()]
    assert not trend_of(slowly).grows(LIMIT)
    assert trend_of(slowly).grows(Limit(0.5))


def test_what_only_fills_up_in_the_beginning_does_not_grow() -> None:
    filling = [(time, 100 * min(1.0, time / 20)) for time, _ in flat()]
    assert trend_of(filling).grows(LIMIT)
    assert not trend_of(without_warm_up(filling, 100)).grows(LIMIT)


def test_a_long_soak_is_not_warm_for_longer_than_two_minutes() -> None:
    assert without_warm_up([(time, 0.0) for time in range(3600)], 3600)[0][0] == 120


def test_what_is_bounded_may_fill_up_for_half_of_the_time() -> None:
    assert without_warm_up(flat(), 100, full_at=40)[0][0] == 40
    assert without_warm_up(flat(), 100, full_at=10)[0][0] == without_warm_up(flat(), 100, full_at=60)[0][0] == 25


def test_two_samples_show_nothing() -> None:
    with pytest.raises(ValueError, match="2 samples show no trend"):
        trend_of([(0, 0), (1, 1)])


def test_names_that_are_remembered_count_until_there_are_as_many_as_can_be() -> None:
    name = "server memory"
    assert limit_of(name, 0).amount == LIMITS[name].amount + 10 * MEGABYTE
    assert limit_of(name, 10_000) == limit_of(name, 50_000) == LIMITS[name]
    assert limit_of("Valkey memory", 0) == LIMITS["Valkey memory"]


def soak(*options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "benchmarks.soak", "--layers", "queue", *options]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=2 * PATIENCE)


def test_twin_a_server_that_leaks_is_caught() -> None:
    done = soak("--seconds", "5", "--leak", "1000000")
    assert done.returncode == 1, done
    assert "grows" in done.stdout
    assert "Not well" in done.stdout
    assert " 0 failed" in done.stdout


def test_too_short_a_soak_is_refused() -> None:
    assert soak("--seconds", "1").returncode == 2

"""Plain arithmetic on samples. Standard library only: it runs in every environment."""

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.program import Load

__all__ = ["latency_result", "median", "percentile", "send_result", "spread"]


def median(samples: Sequence[float]) -> float:
    """The middle of `samples`."""
    return statistics.median(samples)


def spread(samples: Sequence[float]) -> float:
    """Highest over lowest: 1.0 when all are the same."""
    return max(samples) / min(samples) if min(samples) else float("inf")


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that `percent` of them do not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def latency_result(load: Load, departures: Sequence[float], arrivals: Sequence[float]) -> dict[str, Any]:
    """The result of a program that sent one message at a time. The first tenth warmed it up."""
    return send_result(load, [arrival - departure for departure, arrival in zip(departures, arrivals, strict=False)])


def send_result(load: Load, times: Sequence[float]) -> dict[str, Any]:
    """The result of a program that took the time, in seconds, of one message after the other."""
    micros = [seconds * 1e6 for seconds in times[len(times) // 10 :]]
    return {
        "p50_us": percentile(micros, 50),
        "p99_us": percentile(micros, 99),
        "count": load.arrived,
        "lost": load.lost(),
        "duplicated": load.duplicated(),
    }

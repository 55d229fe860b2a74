"""Whether something grows: a line through the samples, and how sure it is. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

__all__ = ["Limit", "Trend", "trend_of", "without_warm_up"]

SURE = 3.0
"""Standard errors by which a line must rise to count as rising: what only jumps up and down does not."""

WARM_UP = 0.25
"""The part of a soak in which caches, pools and the heap fill up."""

MOST_WARM_UP = 120.0
"""And how many seconds that is at most."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What something may grow by: an amount, and a part of its size."""

    amount: float
    part: float = 0.0

    def of(self, size: float) -> float:
        """The limit for something of `size`."""
        return self.amount + self.part * size


@dataclass(frozen=True, slots=True)
class Trend:
    """The line of least squares through samples over time."""

    start: float
    growth: float
    """From the first sample to the last, on the line."""
    error: float
    """The standard error of the growth."""

    def grows(self, limit: Limit) -> bool:
        """Whether it grows by more than the limit, and surely."""
        return self.growth > limit.of(self.start) and self.growth > SURE * self.error


def trend_of(samples: Sequence[tuple[float, float]]) -> Trend:
    """The trend of pairs of a time and a value.

    Raises:
        ValueError: fewer than three samples, through which any line goes.
    """
    if len(samples) < 3:
        raise ValueError(f"{len(samples)} samples show no trend")
    count = len(samples)
    mean_time = sum(time for time, _ in samples) / count
    mean = sum(value for _, value in samples) / count
    spread = sum((time - mean_time) ** 2 for time, _ in samples)
    slope = sum((time - mean_time) * (value - mean) for time, value in samples) / spread
    off = sum((value - mean - slope * (time - mean_time)) ** 2 for time, value in samples)
    duration = samples[-1][0] - samples[0][0]
    start = mean + slope * (samples[0][0] - mean_time)
    return Trend(start, slope * duration, sqrt(off / (count - 2) / spread) * duration)


def without_warm_up(
    samples: Sequence[tuple[float, float]], seconds: float, full_at: float = 0.0
) -> list[tuple[float, float]]:
    """The samples of a soak of so many seconds that count, by the time since its beginning.

    Args:
        samples: all of them.
        seconds: how long the soak is.
        full_at: when everything that is bounded was full; it counts unless that was in the second half.
    """
    begin = min(WARM_UP * seconds, MOST_WARM_UP)
    if full_at <= seconds / 2:
        begin = max(begin, full_at)
    return [sample for sample in samples if sample[0] >= begin]

"""`--check`: does the demo do what it says? Asked with real WebSocket clients at both servers."""

from sandbox.check.cards import CARDS, notified, posted, sent, two_processes, typed_at_one
from sandbox.check.deaths import DEATHS, job_survives, line_survives
from sandbox.check.running import Step, check_steps
from sandbox.demo import Demo

__all__ = ["check", "job_survives", "line_survives", "notified", "posted", "sent", "two_processes", "typed_at_one"]


async def check(demo: Demo) -> int:
    """Take every step, print what it saw, and return the exit code: 0 if all went well, else 1.

    Those in which processes die come last: they would disturb the others.
    """
    failed = await check_steps(demo, CARDS) + await check_steps(demo, DEATHS)
    every: tuple[Step, ...] = (*CARDS, *DEATHS)
    print(f"\n  {len(every) - failed} of {len(every)} steps went well.", flush=True)
    return 1 if failed else 0

"""Whether a layer can do its work now: what a probe of an orchestrator asks for."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["Check", "Readiness", "all_checked", "cancelled"]


@dataclass(frozen=True, slots=True)
class Readiness:
    """True if there are no problems. As text, it says which there are."""

    problems: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        return "; ".join(self.problems) or "ready"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold.

    Attributes:
        late: the problem if it takes too long.
        work: called to begin; raises what is wrong.
    """

    late: str
    work: Callable[[], Coroutine[Any, Any, object]]


async def all_checked(checks: Iterable[Check], timeout: float) -> Readiness:
    """Do all checks at a time, within `timeout` seconds. Raises nothing."""
    tasks = {asyncio.ensure_future(check.work()): check for check in checks}
    if not tasks:
        return Readiness()
    try:
        await asyncio.wait(tasks, timeout=timeout)
    finally:
        await cancelled(tasks)
    problems = [  # some programs cancel every task there is
        f"{check.late} within {timeout:g} s" if task.cancelled() else _text(task.exception())
        for task, check in tasks.items()
    ]
    return Readiness(tuple(dict.fromkeys(problem for problem in problems if problem)))


async def cancelled(tasks: Iterable["asyncio.Future[Any]"]) -> None:
    """Cancel what has not ended, and wait until it has."""
    await asyncio.gather(*[task for task in tasks if task.cancel()], return_exceptions=True)


def _text(error: BaseException | None) -> str:
    """What is wrong; of an error that says nothing, its kind."""
    return "" if error is None else str(error) or type(error).__name__

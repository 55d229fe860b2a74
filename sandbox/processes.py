"""Child processes that end with this one, however it ends."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Never, Self, TypeVar

__all__ = ["Child", "ChildFailed", "Family", "first_of"]

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
"""Where `sandbox` can be imported."""

GRACE = 5.0
"""Seconds that all children together get to end by themselves."""


@dataclass(eq=False)
class Child:
    """A process of the demo, and the last lines that it wrote."""

    name: str
    process: Process
    quiet: bool
    needed: bool = True
    lines: "deque[str]" = field(default_factory=lambda: deque(maxlen=20))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    async def copy_output(self) -> None:
        """Print what it writes under its name, or keep it for the error if it is quiet."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            text = line.decode(errors="replace").rstrip()
            self.lines.append(text)
            if not self.quiet:
                print(f"{self.name} | {text}", file=sys.stderr, flush=True)


class ChildFailed(Exception):
    """A child ended, or was not ready in time, while it was needed."""

    def __init__(self, child: Child, what: str = "") -> None:
        self.child = child
        what = what or f"ended with code {child.process.returncode}"
        heard = "".join(f"\n    {line}" for line in child.lines) if child.quiet else ""
        super().__init__(f"{child.name} (pid {child.pid}) {what}{heard}")


class Family:
    """An `async with` block whose child processes are gone when it is left.

    They form one process group, so that Ctrl-C in a terminal reaches the parent alone, which ends them in order. The
    group's leader is the guard: it kills the others if the parent dies and cannot do it, and removes `folder`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._children: list[Child] = []
        self._copying: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.start_python("guard", "sandbox.guard", *map(str, filter(None, [self._folder])))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop_all()
        self._kill()
        ends = [child.process.wait() for child in self._children]
        await asyncio.gather(*ends, *self._copying, return_exceptions=True)

    async def start_python(
        self,
        name: str,
        module: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        pass_fds: Iterable[int] = (),
        needed: bool = True,
    ) -> Child:
        """Start `python -m module`, with `env` on top of this process's environment."""
        command = (sys.executable, "-m", module, *arguments)
        return await self.start(name, *command, env=env, pass_fds=pass_fds, needed=needed)

    async def start(
        self,
        name: str,
        *command: str,
        env: Mapping[str, str] | None = None,
        pass_fds: Iterable[int] = (),
        quiet: bool = False,
        needed: bool = True,
    ) -> Child:
        """Start a process of the group. The first one leads it, and gets the pipe that tells of the parent's death.

        If one ends that is `needed`, that is an error in `during()`.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=DEVNULL if self._children else PIPE,
            stdout=PIPE,
            stderr=STDOUT,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            pass_fds=tuple(pass_fds),
            process_group=self._children[0].pid if self._children else 0,
        )
        child = Child(name, process, quiet, needed)
        self._children.append(child)
        self._copying.add(asyncio.create_task(child.copy_output()))
        return child

    async def stop(self, child: Child) -> None:
        """Ask `child` to end, and wait until it did."""
        with suppress(ProcessLookupError):
            child.process.terminate()
        await child.process.wait()
        self.forget(child)

    async def stop_all(self) -> None:
        """Ask every child but the guard to end, and wait until all did or `GRACE` is over.

        The first one is asked last: it is what the others use.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await asyncio.gather(*map(self.stop, self._children[2:]))
                await asyncio.gather(*map(self.stop, self._children[1:]))

    def forget(self, child: Child) -> None:
        """Think no more of `child`, which has ended; its last lines are still printed."""
        self._children.remove(child)

    async def ready(self, child: Child, probe: Callable[[], Awaitable[str]], seconds: float = 60) -> None:
        """Wait until `probe` has no complaint about `child`.

        Raises:
            ChildFailed: it ended, or the probe complained for `seconds`; the last complaint is in the text.
        """
        complaint = "does not answer"
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while complaint := await probe():
                    if child.process.returncode is not None:
                        raise ChildFailed(child)
                    await asyncio.sleep(0.05)
        if complaint:
            raise ChildFailed(child, f"was not ready after {seconds:g} s: {complaint}")

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which needs the children that are `needed`.

        Raises:
            ChildFailed: one of them ended before the work did.
        """
        return await first_of(work, *(self._end_of(child) for child in self._children if child.needed))

    async def _end_of(self, child: Child) -> Never:
        await child.process.wait()
        raise ChildFailed(child)

    def _kill(self) -> None:
        """Kill whoever is left of the group. Its id is the guard's: nobody else has it while one of them is there."""
        if any(child.process.returncode is None for child in self._children):
            with suppress(ProcessLookupError):
                os.killpg(self._children[0].pid, signal.SIGKILL)


async def first_of(work: Coroutine[Any, Any, T], *others: Coroutine[Any, Any, object]) -> T:
    """The result of `work`, unless one of the `others`, which are not meant to end, raises first. All end."""
    task = asyncio.create_task(work)
    tasks: list[asyncio.Task[Any]] = [task, *map(asyncio.create_task, others)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if task not in done:
            done.pop().result()
            raise AssertionError("what is not meant to end has ended")
        return task.result()
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

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
from typing import Any, Self, TypeVar

__all__ = ["Child", "ChildFailed", "Family"]

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
    group's leader is the guard: it kills the others if the parent dies and cannot do it.
    """

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._copying: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.start_python("guard", "sandbox.guard")
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                for child in reversed(self._children[1:]):
                    await self.stop(child)
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
    ) -> Child:
        """Start `python -m module`, with `env` on top of this process's environment."""
        return await self.start(name, sys.executable, "-m", module, *arguments, env=env, pass_fds=pass_fds)

    async def start(
        self,
        name: str,
        *command: str,
        env: Mapping[str, str] | None = None,
        pass_fds: Iterable[int] = (),
        quiet: bool = False,
    ) -> Child:
        """Start a process of the group. The first one leads it, and gets the pipe that tells of the parent's death."""
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
        child = Child(name, process, quiet)
        self._children.append(child)
        self._copying.add(asyncio.create_task(child.copy_output()))
        return child

    async def stop(self, child: Child) -> None:
        """Ask `child` to end, and wait until it did."""
        with suppress(ProcessLookupError):
            child.process.terminate()
        await child.process.wait()
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
        """The result of `work`, which needs every child.

        Raises:
            ChildFailed: one ended before the work did.
        """
        task = asyncio.create_task(work)
        exits = {child: asyncio.create_task(child.process.wait()) for child in self._children}
        try:
            await asyncio.wait([task, *exits.values()], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ChildFailed(next(child for child, end in exits.items() if end.done()))
            return task.result()
        finally:
            for each in (task, *exits.values()):
                each.cancel()
            await asyncio.gather(task, *exits.values(), return_exceptions=True)

    def _kill(self) -> None:
        """Kill whoever is left of the group. Its id is the guard's: nobody else has it while one of them is there."""
        if any(child.process.returncode is None for child in self._children):
            with suppress(ProcessLookupError):
                os.killpg(self._children[0].pid, signal.SIGKILL)

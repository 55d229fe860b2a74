"""`python -m sandbox` runs the demo until Ctrl-C; `python -m sandbox --check` tries it out, and exits with 0 or 1."""

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from sandbox.check import check
from sandbox.demo import running
from sandbox.processes import ChildFailed, Family, first_of

__all__ = ["main"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """The exit code: 0 if all was well, 1 if something failed."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--check", action="store_true", help="try everything out with WebSocket clients, then end")
    checking = parser.parse_args().check
    try:
        return asyncio.run(run(checking))
    except ChildFailed as error:
        print(f"\nThe demo stopped: {error}", file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        print("\nStopped; no process is left.")
        return 1 if checking else 0


async def run(checking: bool) -> int:
    """Run the demo until it was checked, a child fails, or a signal comes."""
    stop_on_signal()
    with tempfile.TemporaryDirectory(prefix="fast-channels-demo-", ignore_cleanup_errors=True) as folder:
        async with Family(Path(folder)) as family:
            try:
                async with running(family, Path(folder)) as (demo, supervisor):
                    print(demo, flush=True)
                    work = check(demo) if checking else until_signal()
                    return await family.during(first_of(work, supervisor.run()))
            finally:
                ignore_signals()


async def until_signal() -> int:
    """Wait to be cancelled."""
    print("  Ctrl-C stops everything.\n", flush=True)
    await asyncio.Event().wait()
    return 0


def stop_on_signal() -> None:
    """Cancel the running task when a signal asks for the end."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for each in SIGNALS:
        loop.add_signal_handler(each, task.cancel)


def ignore_signals() -> None:
    """From now on: nothing may disturb the cleaning up, which takes a few seconds at most."""
    for each in SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(each)
        signal.signal(each, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())

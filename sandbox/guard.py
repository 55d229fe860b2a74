"""Ends the demo's processes if their parent dies without a word (SIGKILL, out of memory).

It leads the process group in which they all are, and reads a pipe whose other end only the parent holds.
"""

import os
import shutil
import signal
import sys

__all__ = ["guard"]


def guard() -> None:
    """Wait for the end of stdin, then remove the folder that is the argument, and kill the group, this process with it.

    A parent that ends well has ended this process before.
    """
    sys.stdin.buffer.read()
    for folder in sys.argv[1:]:
        shutil.rmtree(folder, ignore_errors=True)
    if os.getpgrp() == os.getpid():  # not when somebody runs it by hand, in a group of others
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    guard()

"""What starts afresh in a forked child."""

import subprocess
import sys

PROGRAM = """
import gc, os, sys
from fast_channels.layers.forking import leave_to_parent, start_afresh_in_children

class Thing:
    def __init__(self, name):
        self.name = name
        self.connection = Connection(name)
        start_afresh_in_children(self)

    def _after_fork(self):
        leave_to_parent(self.connection)
        self.connection = None
        print("afresh", self.name, flush=True)

class Connection:
    def __init__(self, name):
        self.name = name

    def __del__(self):
        print("closed", self.name, flush=True)

def fork():
    sys.stdout.flush()
    child = os.fork()
    if not child:
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)

kept, dropped = Thing("kept"), Thing("dropped")
del dropped
fork()
assert kept.connection is not None
del kept
fork()  # nobody is left to be told
"""


def test_a_child_is_told_what_lives_and_closes_nothing_of_its_parent() -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.stdout.split("\n"), done.returncode) == (["closed dropped", "afresh kept", "closed kept", ""], 0), done

"""What starts afresh in a forked child."""

import subprocess
import sys

import pytest

from fast_channels.layers import forking

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


DESCRIPTOR = """
import os, resource, socket, sys
from fast_channels.layers.forking import leave_descriptor_to_parent

def use_up_all_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            os.dup(2)
    except OSError:
        pass

def child(here):
    number = here.fileno()
    if sys.argv[1] == "none is left":
        use_up_all_descriptors()
    leave_descriptor_to_parent(number)
    assert here.fileno() == number
    assert os.path.samestat(os.fstat(number), os.stat(os.devnull)), "its number is taken"
    assert not os.get_inheritable(number)
    os.write(said, b"left")
    os.read(leash, 1)
    here.close()

here, there = socket.socketpair()
there.settimeout(50)
leash, end = os.pipe()
heard, said = os.pipe()
pid = os.fork()
if not pid:
    there.close()
    os.close(end)
    status = 1
    try:
        child(here)
        status = 0
    finally:
        os._exit(status)
os.close(said)
assert os.read(heard, 4) == b"left"
here.sendall(b"goes on")
assert there.recv(7) == b"goes on"
here.close()
assert there.recv(1) == b"", "who is at the other end sees that the parent left, though the child lives"
assert os.waitpid(pid, os.WNOHANG) == (0, 0)
there.close()
os.close(end)
assert os.waitpid(pid, 0)[1] == 0
"""


@pytest.mark.parametrize("descriptors", ["some are left", "none is left"])
def test_a_child_leaves_a_descriptor_to_its_parent(descriptors: str) -> None:
    command = [sys.executable, "-W", "error", "-c", DESCRIPTOR, descriptors]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.stderr, done.returncode) == ("", 0)


FORKS = """
import os
from fast_channels.layers.forking import forks
before = forks()
child = os.fork()
if not child:
    os._exit(0)
os.waitpid(child, 0)
print(forks() != before)
"""


def test_a_parent_knows_that_it_forked() -> None:
    assert forking.forks() == forking.forks()
    done = subprocess.run([sys.executable, "-W", "error", "-c", FORKS], capture_output=True, timeout=50, check=False)
    assert (done.stdout, done.stderr) == (b"True\n", b"")

"""`layer.sync` where processes fork, and where they end."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fast_channels.layers.redis import RedisChannelLayer
from tests.support.tls import Authority
from tests.support.waiting import PATIENCE

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

each_layer = pytest.mark.parametrize("kind", ["RedisChannelLayer", "RedisPubSubChannelLayer"])


Done = subprocess.CompletedProcess[str]


def run(program: str, url: str, kind: str = "RedisChannelLayer", hosts: str = "[url]") -> Done:
    """Run a program that has a `layer`, as a user does who wants to see every warning."""
    head = f"""
import logging, os, sys, threading
logging.getLogger("fast_channels").setLevel(logging.ERROR)  # the server of the tests keeps nothing on disk
from fast_channels.exceptions import *
from fast_channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
url = {url!r}
layer = {kind}({hosts}, prefix="forks-" + str(os.getpid()), capacity=10_000)
"""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", head + textwrap.dedent(program)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)


def ends_well(done: Done) -> str:
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


PARENT_AND_CHILD_SEND = """
    layer.sync.send("jobs", {"from": "parent", "n": 0})
    (before,) = layer.sync._senders.idle
    child = os.fork()
    who = "parent" if child else "child"
    for number in range(1, 100):
        layer.sync.send("jobs", {"from": who, "n": number})
    (after,) = layer.sync._senders.idle
    assert (after.name == before.name) is bool(child)
    if not child:
        os._exit(7)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    layer.sync.send("jobs", {"from": who, "n": 100})
    messages = [layer.sync.receive("jobs", timeout=30) for _ in range(200)]
    assert [message["n"] for message in messages if message["from"] == "parent"] == list(range(101))
    assert [message["n"] for message in messages if message["from"] == "child"] == list(range(1, 100))
    print("well")
"""


@forks
def test_parent_and_child_send_at_the_same_time(redis_url: str) -> None:
    assert ends_well(run(PARENT_AND_CHILD_SEND, redis_url)) == "well\n"


@forks
@pytest.mark.tls
def test_over_tls_as_well(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with authority.server("localhost") as server:
        hosts = f"[{{'address': url, 'ssl_ca_certs': {authority.file!r}}}]"
        assert ends_well(run(PARENT_AND_CHILD_SEND, f"rediss://localhost:{server.port}", hosts=hosts)) == "well\n"


@forks
@each_layer
def test_a_child_has_nothing_of_its_parent(redis_url: str, kind: str) -> None:
    program = """
        from pathlib import Path
        def sockets():
            return sum("socket:" in str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.exists())
        channel = layer.sync.new_channel()
        layer.sync.send("jobs", {"n": 0})
        assert [sender for sender in layer.sync._senders.idle if sender.courier._connections]
        child = os.fork()
        if not child:
            assert not layer.sync._senders.idle
            assert threading.active_count() == 1
            try:
                layer.sync.receive(channel, timeout=1)
            except ForeignChannelError:
                own = layer.sync.new_channel()
                assert own.partition("!")[0] != channel.partition("!")[0]
                layer.sync.send(own, {"n": 1})
                layer.sync.send(channel, {"n": 2})
                assert layer.sync.receive(own, timeout=30) == {"n": 1}
                layer.sync.close()
                os._exit(7)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 7
        print(layer.sync.receive(channel, timeout=30))
    """
    assert ends_well(run(program, redis_url, kind)) == "{'n': 2}\n"


@forks
def test_a_job_in_each_child_costs_its_parent_nothing(redis_url: str) -> None:
    """As RQ does it: a fork for each job, of a process that has sent before, while other threads of it send."""
    program = """
        from tests.support.descriptors import open_descriptors
        over = threading.Event()
        def send():
            while not over.wait(0.001):
                layer.sync.send("others", {"n": 0})
        sending = threading.Thread(target=send)
        sending.start()
        layer.sync.send("jobs", {"n": 0})
        descriptors = open_descriptors()
        for number in range(1, 20):
            child = os.fork()
            if not child:
                layer.sync.send("jobs", {"n": number})
                os._exit(0)
            _, status = os.waitpid(child, 0)
            assert status == 0
        over.set()
        sending.join()
        assert open_descriptors() <= descriptors + 1
        print([layer.sync.receive("jobs", timeout=30)["n"] for _ in range(20)] == list(range(20)))
    """
    assert ends_well(run(program, redis_url)) == "True\n"


@forks
def test_a_child_of_multiprocessing_ends_in_order(redis_url: str) -> None:
    program = """
        import multiprocessing
        layer.sync.send("jobs", {"n": 0})
        layer.sync.new_channel()
        child = multiprocessing.get_context("fork").Process(target=layer.sync.send, args=("jobs", {"n": 1}))
        child.start()
        child.join()
        assert child.exitcode == 0
        print([layer.sync.receive("jobs", timeout=30)["n"] for _ in range(2)])
    """
    assert ends_well(run(program, redis_url)) == "[0, 1]\n"


@forks
def test_a_child_may_leave_as_any_program(redis_url: str) -> None:
    program = """
        layer.sync.new_channel()
        layer.sync.send("jobs", {"n": 0})
        child = os.fork()
        if not child:
            layer.sync.send("jobs", {"n": 1})
            sys.exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0
        print([layer.sync.receive("jobs", timeout=30)["n"] for _ in range(2)])
    """
    assert ends_well(run(program, redis_url)) == "[0, 1]\n"


# The end


@each_layer
def test_a_program_ends_by_itself_and_without_a_word(redis_url: str, kind: str) -> None:
    program = """
        channel = layer.sync.new_channel()
        layer.sync.group_add("room", channel)
        layer.sync.group_send("room", {"n": 1})
        print(layer.sync.receive(channel, timeout=30))
        threading.Thread(target=layer.sync.receive, args=[channel], daemon=True).start()
    """
    assert ends_well(run(program, redis_url, kind)) == "{'n': 1}\n"


@each_layer
def test_a_layer_that_nobody_holds_any_more_hangs_up(redis_url: str, kind: str) -> None:
    program = """
        import gc
        from tests.support.descriptors import open_sockets
        before = open_sockets()
        layer.sync.send("jobs", {"n": 1})
        assert open_sockets() == before + 1
        del layer
        gc.collect()
        print(open_sockets() - before)
    """
    assert ends_well(run(program, redis_url, kind)) == "0\n"


def test_who_leaves_is_missed_in_no_group(redis_url: str) -> None:
    """Also if nothing was closed: it was at exit."""
    program = """
        layer.sync.group_add("room", layer.sync.new_channel())
        print(layer.prefix)
    """
    prefix = ends_well(run(program, redis_url)).strip()
    layer = RedisChannelLayer([redis_url], prefix=prefix)
    with layer.sync as sync:
        sync.group_send("room", {"n": 1})
        assert layer.statistics().dropped == {}


def test_ctrl_c_ends_a_wait_in_a_program(redis_url: str) -> None:
    program = """
        import signal
        channel = layer.sync.new_channel()
        threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
        try:
            layer.sync.receive(channel)
        except KeyboardInterrupt:
            layer.sync.send(channel, {"n": 1})
            print(layer.sync.receive(channel, timeout=30))
    """
    assert ends_well(run(program, redis_url)) == "{'n': 1}\n"


def test_ctrl_c_while_sending_mixes_up_no_answers(redis_url: str) -> None:
    program = """
        import signal, time
        over = threading.Event()
        def interrupt():
            while not over.wait(0.003):
                os.kill(os.getpid(), signal.SIGINT)
        interrupting = threading.Thread(target=interrupt)
        channel, sent, received = layer.sync.new_channel(), [], []
        number = interruptions = 0
        interrupting.start()
        while interruptions < 30:
            try:
                number += 1
                layer.sync.send(channel, {"n": number})
                sent.append(number)
            except KeyboardInterrupt:
                interruptions += 1
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        over.set()
        interrupting.join()
        layer.sync.send(channel, {"n": "last"})
        while (n := layer.sync.receive(channel, timeout=30)["n"]) != "last":
            received.append(n)
        assert received == sorted(set(received)), "once, in order"
        assert set(sent) <= set(received) <= set(range(number + 1))
        print("well")
    """
    done = run(program, redis_url)  # a socket that was being made is collected, and says so
    assert (done.stdout, done.returncode) == ("well\n", 0), done.stderr

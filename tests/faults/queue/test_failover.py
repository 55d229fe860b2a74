"""What the death of a master excuses is excused, and nothing else."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.queue.failover import Failover
from tests.faults.queue.ledger import Event, Log
from tests.faults.queue.scene import Scene

OWNED, JOBS, ROOM = "specific.o!1", "jobs", "room"


class Story:
    """Messages of one sender, written down as they would be; the master dies in the middle."""

    def __init__(self, folder: Path, *, loses: bool = True) -> None:
        self.scene = Scene("redis://nowhere", folder)
        self.scene.members = {ROOM: [OWNED]}
        self.failover = Failover(self.scene, loses=loses)
        self._log = Log(folder, "all")

    def write(self, event: Event, channel: str, number: int, began: float = 0.0) -> None:
        self._log.write(event, channel, {"from": "s", "number": number}, began)

    def send(self, channel: str, number: int, event: Event = "acknowledged") -> Callable[[], None]:
        """Begin to send; what is returned is its end."""
        began = asyncio.get_running_loop().time()  # of the monotonic clock, as the ledger's
        return lambda: self.write(event, channel, number, began)

    def handle(self, channel: str, number: int) -> None:
        self.write("start", channel, number)
        self.write("end", channel, number)

    async def kill(self, *, unreplicated: Callable[[], None] = lambda: None) -> None:
        async def replicated() -> None:
            unreplicated()

        await self.failover.kill(replicated(), lambda: None)

    def broken(self) -> list[str]:
        self._log.close()
        return self.failover.broken()


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


@pytest.mark.parametrize("channel", [OWNED, JOBS])
async def test_what_was_acknowledged_before_the_replica_was_in_step_may_not_be_lost(story: Story, channel: str) -> None:
    story.send(channel, 1)()
    await story.kill()
    assert story.broken() == [f"{(channel, 's', 1)} was acknowledged and is lost"]


async def test_what_was_acknowledged_after_that_may(story: Story) -> None:
    await story.kill(unreplicated=story.send(OWNED, 1))
    assert story.broken() == []


async def test_unless_senders_wait_for_the_replica(tmp_path: Path) -> None:
    story = Story(tmp_path, loses=False)
    await story.kill(unreplicated=story.send(OWNED, 1))
    assert story.broken() == [f"{(OWNED, 's', 1)} was acknowledged and is lost"]


async def test_what_is_sent_to_the_new_master_may_not_be_lost(story: Story) -> None:
    await story.kill()
    story.send(OWNED, 1)()
    assert story.broken() == [f"{(OWNED, 's', 1)} was acknowledged and is lost"]


@pytest.mark.parametrize(("to", "arrives"), [(OWNED, OWNED), (ROOM, OWNED), (JOBS, JOBS)])
async def test_what_was_under_way_may_come_again(story: Story, to: str, arrives: str) -> None:
    acknowledge = story.send(to, 1)
    story.handle(arrives, 1)
    await story.kill()
    acknowledge()
    story.handle(arrives, 1)
    assert story.broken() == []


@pytest.mark.parametrize(("to", "arrives"), [(OWNED, OWNED), (ROOM, OWNED)])
async def test_what_was_acknowledged_may_not_come_again(story: Story, to: str, arrives: str) -> None:
    story.send(to, 1)()
    story.handle(arrives, 1)
    await story.kill()
    story.handle(arrives, 1)
    assert story.broken() == [f"{(arrives, 's', 1)} came again"]


async def test_a_job_whose_end_the_replica_was_not_told_may_come_again(story: Story) -> None:
    """The last one before its replica was in step tells its master a moment later."""
    for number in (1, 2, 3):
        story.send(JOBS, number)()
    for number in (1, 2):
        story.handle(JOBS, number)
    await story.kill(unreplicated=lambda: story.handle(JOBS, 3))
    for number in (1, 2, 3):
        story.handle(JOBS, number)
    assert story.broken() == [f"{(JOBS, 's', 1)} came again"]


async def test_order_is_owed_whatever_happens(story: Story) -> None:
    await story.kill()
    story.send(OWNED, 1)()
    story.send(OWNED, 2)()
    story.handle(OWNED, 2)
    story.handle(OWNED, 1)
    assert story.broken() == [f"{(OWNED, 's', 2)} came before {(OWNED, 's', 1)}"]

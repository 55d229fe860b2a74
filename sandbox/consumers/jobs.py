"""The card "Background jobs": what workers report, over the layer "queue"."""

from typing import Any

from pydantic import BaseModel, Field

from sandbox import store
from sandbox.consumers.card import CardConsumer
from sandbox.jobs import JOB_WATCHERS, MOST_JOBS, start_jobs
from sandbox.store import in_thread

__all__ = ["JobsConsumer"]


class Order(BaseModel):
    """How many jobs to start, and how long each shall take."""

    count: int = Field(ge=1, le=MOST_JOBS)
    seconds: float | None = Field(default=None, gt=0, le=60)


class JobsConsumer(CardConsumer):
    """A page that watches jobs, and starts some."""

    channel_layer_alias = "queue"
    groups = [JOB_WATCHERS]

    async def connect(self) -> None:
        """Show what there is. The group is joined by now, so nothing that changes from here on is missed."""
        await super().connect()
        await self.send_json({"type": "jobs", "jobs": await in_thread(store.latest_jobs)})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Start some."""
        order = Order.model_validate(content)
        await self.send_json({"type": "started", "ids": await start_jobs(order.count, order.seconds)})

    async def job_changed(self, event: dict[str, Any]) -> None:
        """Handle `job.changed`: a worker says how far it is."""
        await self.send_json({"type": "job", "job": event["job"]})

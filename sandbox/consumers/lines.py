"""The card "Reliable chat": over the layer "queue", with a history.

Who promises what:

- The page keeps a line, and sends it again, until it has seen it in the history. So a server may die at any time.
- The queue keeps what it has accepted until a worker has written it down. So a worker may die at any time.
- The history gives every line one number. A page names the last one that it has, and gets all that follow, whenever
  it connects or sees a hole. So nothing is missed, nothing is shown twice, and all pages show the same order.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from fast_channels.exceptions import FastChannelsError
from sandbox import store
from sandbox.consumers.card import CardConsumer
from sandbox.identity import LINES, NAME
from sandbox.lines import READERS
from sandbox.rooms import ChatText
from sandbox.store import AT_ONCE, in_thread

__all__ = ["LinesConsumer"]


class Resume(BaseModel):
    """Asks for what follows the line with the number `after`; for the latest lines, if there is none yet."""

    type: Literal["resume"]
    after: int | None = Field(default=None, ge=0)


class Line(ChatText):
    """A line to keep. The same id again means the same line."""

    type: Literal["line"]
    id: str = Field(pattern=r"^[0-9a-f-]{8,36}$")


asked: TypeAdapter[Resume | Line] = TypeAdapter(Annotated[Resume | Line, Field(discriminator="type")])


class LinesConsumer(CardConsumer):
    """A page that reads and writes the reliable chat."""

    channel_layer_alias = "queue"
    groups = [READERS]

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """A line, or a question for what was missed."""
        question = asked.validate_python(content)
        if isinstance(question, Resume):
            lines = await in_thread(store.lines_after, question.after)
            await self.send_json({"type": "lines", "lines": lines, "more": len(lines) == AT_ONCE})
        else:
            await self.accept_line(question)

    async def accept_line(self, line: Line) -> None:
        """Put the line into the queue: it is Redis's when that returns. The page hears of it by its number, later."""
        message = {"type": "line.keep", "id": line.id, "name": line.name, "text": line.text, "server": NAME}
        try:
            await self.channel_layer.send(LINES, message)
        except FastChannelsError as error:
            await self.send_json({"type": "later", "id": line.id, "text": str(error)})

    async def line_kept(self, event: dict[str, Any]) -> None:
        """Handle `line.kept`: it is in the history now."""
        await self.send_json({"type": "kept", "line": event["line"]})

"""The card "System": messages between a page and its server, with no layer at all."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from sandbox.consumers.card import CardConsumer
from sandbox.identity import identity
from sandbox.sockets import open_sockets

__all__ = ["SystemConsumer"]


class Ping(BaseModel):
    """Asks for an answer, to measure how long it takes."""

    type: Literal["ping"]
    at: float


class Say(BaseModel):
    """Asks for an echo."""

    type: Literal["say"]
    text: str = Field(min_length=1, max_length=200)


asked: TypeAdapter[Ping | Say] = TypeAdapter(Annotated[Ping | Say, Field(discriminator="type")])


class SystemConsumer(CardConsumer):
    """Answers from this very process. It names no layer, so it has none."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Answer."""
        question = asked.validate_python(content)
        if isinstance(question, Ping):
            await self.send_json({"type": "pong", "at": question.at, "sockets": open_sockets(), **identity()})
        else:
            await self.send_json({"type": "echo", "text": question.text, **identity()})

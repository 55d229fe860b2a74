"""The demo application: a chat page served by two processes, and a third process that sends to it."""

__all__: list[str] = []

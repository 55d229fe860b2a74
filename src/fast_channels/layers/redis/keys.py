"""Every name that the layers use on a server, and nowhere else.

Each begins with `prefix|`, so that `~asgi|*` and `&asgi|*` are the ACL of a layer, and `asgi` never reaches `asgi2`.
What follows says what it is, so that a channel is never taken for a group.
"""

from fast_channels import names

__all__ = ["Addresses"]


class Addresses:
    """Where messages are published: the pub/sub channels of one prefix."""

    def __init__(self, prefix: str) -> None:
        names.check_prefix(prefix)
        self.prefix = prefix
        self._group = f"{prefix}|g|"
        self._shared = f"{prefix}|c|"
        self._inbox = f"{prefix}|i|"

    def group(self, group: str) -> bytes:
        """Where a group's messages go: every process that has a member is subscribed."""
        return (self._group + group).encode()

    def shared(self, channel: str) -> bytes:
        """Where the messages of a plain channel go: every process that receives there is subscribed."""
        return (self._shared + channel).encode()

    def inbox(self, client: str) -> bytes:
        """Where the messages of all specific channels of one client go."""
        return (self._inbox + client).encode()

    def everything(self) -> str:
        """A glob that matches all of them."""
        return f"{_glob_escaped(self.prefix)}|*"


def _glob_escaped(text: str) -> str:
    return "".join(f"\\{character}" if character in "*?[]^\\-" else character for character in text)

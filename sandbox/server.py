"""One server process: uvicorn on a listening socket that the parent opened (its descriptor is the argument).

The parent opens it so that the port is known before the server runs, and taken by nobody else. Without a parent, the
usual way does as well: `uvicorn sandbox.main:app`.
"""

import socket
import sys

import uvicorn

__all__ = ["serve"]


def serve(listener: socket.socket) -> None:
    """Serve the application until SIGTERM."""
    config = uvicorn.Config("sandbox.main:app", log_level="warning", timeout_graceful_shutdown=2)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))

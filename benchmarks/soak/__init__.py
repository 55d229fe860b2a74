"""A soak: sockets that come and go at full speed, and memory that must not grow."""

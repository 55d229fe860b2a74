"""End to end: real WebSockets, real servers, a load client in a process of its own."""

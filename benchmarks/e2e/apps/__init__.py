"""The same two routes on every library: what a socket of /send/<room> sends, every socket of /room/<room> receives."""

"""One association from either side: sockets, clocks, tasks and TLS."""

"""One peer, from a program's side: associations to it, and what is asked of it."""

"""The cases, a file for each group of clauses. Importing this package registers all of them."""

from . import answer, data, ending, messages, request, sweep, user

__all__ = ["answer", "data", "ending", "messages", "request", "sweep", "user"]

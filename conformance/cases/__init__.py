"""The cases, a file for each group of clauses. Importing this package registers all of them."""

from . import (
    answer,
    contexts,
    data,
    ending,
    messages,
    request,
    scu_association,
    scu_messages,
    scu_sweep,
    scu_user,
    sweep,
    transport,
    user,
)

__all__ = [
    "answer",
    "contexts",
    "data",
    "ending",
    "messages",
    "request",
    "scu_association",
    "scu_messages",
    "scu_sweep",
    "scu_user",
    "sweep",
    "transport",
    "user",
]

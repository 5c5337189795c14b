"""The cases, a file for each group of clauses. Importing this package registers all of them."""

from . import (
    answer,
    claims,
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
    "claims",
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

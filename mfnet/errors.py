"""The one exception for what comes from outside: files, parameters, arrays, the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Something from outside is wrong; the message is one line: what, where, and what would be right."""


@contextmanager
def about(key: str) -> Iterator[None]:
    """Put the name of a setting before what is wrong with it: `flow.estimator: no file at raft.pth`."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{key}: {error}") from error

"""The Prefect server: the one that is named, or a local one that is started here for a schedule."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from mfnet.errors import UserError

_HOST = "127.0.0.1"
_LOG = Path(".dvc/tmp/prefect-server.log")


@contextmanager
def scheduling_server(port: int = 4200, patience: float = 180.0) -> Iterator[str]:
    """The address of a server with a scheduler, which is used inside this block.

    A server that PREFECT_API_URL or the profile names is used as it is; so is one that runs at the port. Otherwise one
    is started there, and ends with the block.

    Args:
        port: of the local one.
        patience: seconds that it may take to start, or the named one to answer.

    Raises:
        UserError: the named server does not answer, or the local one does not start.
    """
    named = PREFECT_API_URL.value()
    if named:
        with named_server(patience):
            yield named
        return
    url = f"http://{_HOST}:{port}/api"
    with temporary_settings({PREFECT_API_URL: url}):
        if _answers(url):
            yield url
            return
        server = _start(port)
        try:
            deadline = time.monotonic() + patience
            while not _answers(url):
                if server.poll() is not None or time.monotonic() > deadline:
                    raise UserError(f"retrain: no Prefect server starts at port {port}; {_LOG} says why")
                time.sleep(0.5)
            yield url
        finally:
            server.terminate()
            server.wait()


@contextmanager
def named_server(patience: float = 60.0) -> Iterator[None]:
    """The server that PREFECT_API_URL or the profile names, if any, answers before this block is entered.

    Args:
        patience: seconds that it may take, as where it is being restarted.

    Raises:
        UserError: it does not answer, or has gone away inside the block for longer than Prefect's client waits.
    """
    named = PREFECT_API_URL.value()
    if not named:
        yield
        return
    away = UserError(f"retrain: no Prefect server answers at {named}; start it, or unset PREFECT_API_URL")
    _wait_for_named(named, patience, away)
    try:
        yield
    except Exception as error:
        if isinstance(error, httpx.TransportError) or isinstance(error.__cause__, httpx.TransportError):
            raise away from error
        raise


def _wait_for_named(url: str, patience: float, away: UserError) -> None:
    if _reachable():
        return
    print(f"waits up to {patience:.0f} s for the Prefect server at {url}", file=sys.stderr, flush=True)
    deadline = time.monotonic() + patience
    while not _reachable():
        if time.monotonic() > deadline:
            raise away
        time.sleep(0.5)


def _start(port: int) -> subprocess.Popen[bytes]:
    _LOG.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", _HOST, "--port", str(port)]
    with _LOG.open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def _reachable() -> bool:
    """Whether the server of the settings answers, with their key and their certificates."""
    with get_client(sync_client=True) as client:
        return client.api_healthcheck() is None


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError, ValueError):
        return False

"""What a tracking server that is away could not be told: it is sent later, by this process or by the next stage."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import mlflow
import requests
from filelock import FileLock
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

_ENTRIES = "entries.json"
_PAUSE, _PATIENCE = 5.0, 20.0
_TOO_MANY = 429
Entry = dict[str, Any]


class RunLog:
    """Tells a run's figures, pictures and tags from a thread of its own, in their order, however long that takes.

    What is told never waits for the server, and raises nothing. What the server refuses is left out, and said. At the
    end it waits a little, and not at all where somebody stops the stage; what is still unsent then is kept in a folder
    for the next one.
    """

    def __init__(self, client: MlflowClient, run_id: str, unsent: Path) -> None:
        self._client, self._run_id, self._unsent = client, run_id, unsent
        self._entries: list[Entry] = []
        self._sent, self._closing = 0, False
        self._news = threading.Condition()
        # A request that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._send_all, daemon=True)
        self._thread.start()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        stopped = kind is not None and not issubclass(kind, Exception)
        self.close(0 if stopped else _PATIENCE)

    def metrics(self, values: dict[str, float], step: int | None = None) -> None:
        """Numbers of one step."""
        self._tell({"kind": "metrics", "values": values, "step": step or 0, "time": _now()})

    def tag(self, name: str, value: str) -> None:
        """A tag of the run."""
        self._tell({"kind": "tag", "name": name, "value": value})

    def artifact(self, path: Path, folder: str) -> None:
        """A file, which has to stay where it is until `close`."""
        self._tell({"kind": "artifact", "path": str(path), "folder": folder})

    def close(self, patience: float = _PATIENCE) -> None:
        """Wait until all is sent, for so many seconds at most; keep the rest for later."""
        deadline = time.monotonic() + patience
        with self._news:
            self._closing = True
            self._news.notify_all()
            while self._sent < len(self._entries) and time.monotonic() < deadline:
                self._news.wait(max(0.0, deadline - time.monotonic()))
            rest = self._entries[self._sent :]
        if rest:
            keep(self._unsent, self._run_id, rest)

    def _tell(self, entry: Entry) -> None:
        with self._news:
            self._entries.append(entry)
            self._news.notify_all()

    def _send_all(self) -> None:
        while True:
            with self._news:
                while self._sent == len(self._entries) and not self._closing:
                    self._news.wait()
                if self._sent == len(self._entries):
                    return
                entry = self._entries[self._sent]
            try:
                send(self._client, self._run_id, entry)
            except Exception as error:
                if not is_refused(error):
                    time.sleep(_PAUSE)
                    continue
                print(f"mlflow: {entry['kind']} of run {self._run_id} left out: {_one_line(error)}", file=sys.stderr)
            with self._news:
                self._sent += 1
                self._news.notify_all()


def send(client: MlflowClient, run_id: str, entry: Entry) -> None:
    """Tell the server one thing of a run."""
    if entry["kind"] == "metrics":
        metrics = [Metric(name, value, entry["time"], entry["step"]) for name, value in entry["values"].items()]
        client.log_batch(run_id, metrics=metrics)
    elif entry["kind"] == "tag":
        client.set_tag(run_id, entry["name"], entry["value"])
    elif entry["kind"] == "artifact":
        client.log_artifact(run_id, entry["path"], entry["folder"])
    else:
        assert entry["kind"] == "status"
        client.set_terminated(run_id, entry["status"], entry["time"])


def ended(status: str) -> Entry:
    """That a run has ended just now."""
    return {"kind": "status", "status": status, "time": _now()}


def is_refused(error: Exception) -> bool:
    """Whether a server has answered that it will never take this; else it may be away."""
    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
    elif isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
    else:
        # A network that is away is an OSError; what is anything else will not pass.
        return not isinstance(error, OSError) or isinstance(error, FileNotFoundError)
    return 400 <= status < 500 and status != _TOO_MANY


def hurry() -> None:
    """From now on ask the server once and wait for seconds: this process has been told to end."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "3"


def keep(unsent: Path, run_id: str, entries: list[Entry]) -> None:
    """Keep what a run could not be told, its files as copies."""
    with FileLock(_lock_of(unsent)):
        folder = unsent / run_id
        folder.mkdir(parents=True, exist_ok=True)
        known = json.loads((folder / _ENTRIES).read_text())["entries"] if (folder / _ENTRIES).is_file() else []
        for entry in entries:
            if entry["kind"] == "artifact":
                # One file may be sent to several folders.
                place = folder / entry["folder"]
                place.mkdir(parents=True, exist_ok=True)
                known.append(entry | {"path": str(shutil.copy(entry["path"], place))})
            else:
                known.append(entry)
        _write(folder, {"server": mlflow.get_tracking_uri(), "entries": known})
    told = f"what run {run_id} could not be told lies in {folder}, and the next stage sends it"
    print(f"mlflow: the server is away; {told}", file=sys.stderr)


def deliver(client: MlflowClient, unsent: Path) -> None:
    """Send what earlier stages have kept for this server; what cannot be sent stays, what is refused is left out."""
    if not unsent.is_dir():
        return
    with FileLock(_lock_of(unsent)):
        for path in sorted(unsent.glob(f"*/{_ENTRIES}")):
            try:
                kept = json.loads(path.read_text())
                if kept["server"] == mlflow.get_tracking_uri() and _sent(client, path.parent, kept):
                    shutil.rmtree(path.parent)
            except (ValueError, KeyError, TypeError) as error:
                print(f"mlflow: {path} is damaged ({_one_line(error)}), and left alone", file=sys.stderr)


def _sent(client: MlflowClient, folder: Path, kept: dict[str, Any]) -> bool:
    while kept["entries"]:
        try:
            send(client, folder.name, kept["entries"][0])
        except (MlflowException, OSError) as error:
            print(f"mlflow: something of {folder} was not sent: {_one_line(error)}", file=sys.stderr)
            if not is_refused(error):
                return False
        kept["entries"].pop(0)
        _write(folder, kept)
    return True


def _write(folder: Path, kept: dict[str, Any]) -> None:
    partial = folder / f"{_ENTRIES}.partial"
    partial.write_text(json.dumps(kept))
    partial.replace(folder / _ENTRIES)


def _lock_of(unsent: Path) -> Path:
    unsent.parent.mkdir(parents=True, exist_ok=True)
    return unsent.with_name(unsent.name + ".lock")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _now() -> int:
    return int(time.time() * 1000)

"""Real servers of tests' own, which can be taken away and come back at the same port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import requests


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Server:
    """A server's process, begun by a module's command."""

    def __init__(self, folder: Path, health: str) -> None:
        self._folder, self._health, self.port = folder, health, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> list[str]:
        raise NotImplementedError

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self.command], env=os.environ | self.environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 180
        while not self._answers():
            assert self._process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.3)

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.port}{self._health}", timeout=5).ok
        except requests.ConnectionError:
            return False


class MlflowServer(Server):
    """MLflow over HTTP, with SQLite and a folder of artifacts behind it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "/health")
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def command(self) -> list[str]:
        store = ["--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.db'}",
                 "--artifacts-destination", (self._folder / "artifacts").as_uri()]  # fmt: skip
        return ["mlflow", "server", "--port", str(self.port), "--workers", "1", *store]


class PrefectServer(Server):
    """Prefect's server with a database of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "/api/health")
        self.variables = {
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            "PREFECT_HOME": str(folder),
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}",
        }

    @property
    def command(self) -> list[str]:
        return ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | self.variables

"""The Prefect server that is named: waited for where it is only starting, and one line where it stays away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from servers import free_port

from mfnet.errors import UserError
from pipeline.retrain.server import named_server, scheduling_server


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def port() -> Iterator[int]:
    number = free_port()
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{number}/api"}):
        yield number


def answers_from_now_on(port: int) -> HTTPServer:
    server = HTTPServer(("127.0.0.1", port), Healthy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_none_that_answers_is_one_line(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = f"no Prefect server answers at http://127.0.0.1:{port}/api; start it, or unset PREFECT_API_URL"
    with pytest.raises(UserError, match=sentence), named_server(patience=0):
        raise AssertionError
    assert "waits up to 0 s" in capsys.readouterr().err
    with pytest.raises(UserError, match=sentence), scheduling_server(patience=0):
        raise AssertionError


def test_one_that_is_only_starting_is_waited_for(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    servers: list[HTTPServer] = []
    starting = threading.Timer(8.0, lambda: servers.append(answers_from_now_on(port)))
    starting.start()
    with named_server(patience=60):
        assert servers
    assert f"http://127.0.0.1:{port}/api" in capsys.readouterr().err
    with named_server(patience=0):
        assert not capsys.readouterr().err
    servers[0].shutdown()


def test_one_that_goes_away_meanwhile_is_one_line_and_other_errors_stay_what_they_are(port: int) -> None:
    server = answers_from_now_on(port)
    with pytest.raises(UserError, match="no Prefect server answers"), named_server():
        raise httpx.ConnectError("All connection attempts failed")
    with pytest.raises(UserError, match="no Prefect server answers"), named_server():
        # As Prefect says it of its first request.
        raise RuntimeError("Failed to reach API") from httpx.ReadTimeout("")
    with pytest.raises(RuntimeError, match="of a stage"), named_server():
        raise RuntimeError("of a stage")
    server.shutdown()


def test_where_none_is_named_none_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.retrain.server._reachable", lambda: pytest.fail("asked"))
    with temporary_settings(restore_defaults={PREFECT_API_URL}), named_server(patience=0):
        pass

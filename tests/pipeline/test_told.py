"""What a retraining leaves to read, and who is told."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from mfnet.evaluation.statistics.uncertainty import Interval
from pipeline.retrain.challenge import Outcome
from pipeline.retrain.choosing import Comparison, Decision
from pipeline.retrain.news import News
from pipeline.retrain.summary import notify, summary, with_picture

NEWS = News([49], 15, 0, 0, landmarks=False)
COMPARISON = Comparison(
    Interval(3.0, 2.8, 3.2, 50, 50, 1), Interval(2.5, 2.4, 2.6, 50, 50, 1), Interval(-0.5, -0.6, -0.4, 50, 50, 1), 0
)


class Receiver(HTTPServer):
    """Keeps what is posted to it, and answers with a status."""

    def __init__(self) -> None:
        self.posted: list[dict[str, str]] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_page_has_both_models_with_their_intervals_and_the_decision() -> None:
    outcome = Outcome("4", "2", {"wild": COMPARISON, "lab": COMPARISON}, Decision(True, "because of the rule"))
    page = summary(NEWS, ["train"], outcome, "brought up to date")
    assert page.startswith("# Version 4 is champion\n")
    assert "new subjects: 049" in page
    assert "Challenger: version 4; champion before: 2" in page
    assert "- Decided: because of the rule" in page
    assert "| wild | 3.00 [2.80, 3.20] of 50 | 2.50 [2.40, 2.60] of 50 | -0.50 [-0.60, -0.40]" in page


def test_without_a_challenge_there_is_no_table() -> None:
    page = summary(NEWS, [], None, "brought up to date: report")
    assert page.startswith("# brought up to date: report\n")
    assert "|" not in page
    assert "Stages that were due: none" in page


def test_the_newest_picture_is_inside_the_page_and_not_larger_than_needed(tmp_path: Path) -> None:
    assert with_picture("page", tmp_path) == "page"
    noise = np.random.default_rng(0).integers(0, 255, (600, 2400, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "step_000100.png"), noise)
    page = with_picture("page", tmp_path)
    assert page.startswith("page")
    assert "](data:image/jpeg;base64," in page
    assert len(page) < 400_000


def test_a_url_is_posted_to(receiver: Receiver) -> None:
    url = f"http://127.0.0.1:{receiver.server_port}/hook"
    assert notify(url, "the page") is None
    assert receiver.posted == [{"text": "the page"}]
    receiver.status = 500
    assert "500" in (notify(url, "the page") or "")


def test_a_command_gets_the_page_as_its_input(tmp_path: Path) -> None:
    target = tmp_path / "a name with blanks.txt"
    assert notify(f"tee '{target}'", "the page\n") is None
    assert target.read_text() == "the page\n"


@pytest.mark.parametrize(
    ("whom", "why"),
    [
        ("http://127.0.0.1:1/", "refused"),
        ("no-such-command --at all", "no-such-command"),
        ("tee 'unclosed", "No closing quotation"),
        (f"{sys.executable} -c 'import sys; sys.exit(\"not today\")'", "status 1: not today"),
    ],
)
def test_who_cannot_be_told_is_said_and_raises_nothing(whom: str, why: str) -> None:
    assert why in (notify(whom, "page") or "")

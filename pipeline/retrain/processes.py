"""A child process whose lines are passed on, and which ends, children included, when its caller has to."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil

# What a stage has to close its runs in, seconds; Prefect kills the flow itself half a minute after it has asked.
_GRACE = 15.0


def run_child(
    command: Sequence[str], environment: dict[str, str], tell: Callable[[str], None]
) -> tuple[int, list[str]]:
    """Run a command to its end.

    Args:
        command: program and arguments.
        environment: all of its variables.
        tell: is given every line as it is written.

    Returns:
        The exit status, and all lines.
    """
    lines: list[str] = []
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip():
                    lines.append(line.rstrip())
                    tell(lines[-1])
            return process.wait(), lines
        except BaseException:
            stop_group(process.pid)
            raise


def stop_group(group: int) -> None:
    """End every process of a group: by SIGTERM, and by SIGKILL what has not ended a quarter of a minute later."""
    for how, patience in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, 5.0)):
        if not _alive(group):
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, how)
        deadline = time.monotonic() + patience
        while _alive(group) and time.monotonic() < deadline:
            time.sleep(0.1)


def _alive(group: int) -> bool:
    for process in psutil.process_iter(["status"]):
        with suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                return True
    return False

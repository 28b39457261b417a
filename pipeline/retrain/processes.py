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
_GRACE = 22.0


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
    """End every process of a group, and those that they have started in groups of their own, as torchrun does.

    By SIGTERM, and by SIGKILL what has not ended `_GRACE` seconds later.
    """
    own = _members(group)
    with suppress(psutil.Error):
        own |= set(psutil.Process(group).children(recursive=True))
    for how, patience in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, 5.0)):
        alive = {process for process in own | _members(group) if _alive(process)}
        for process in alive:
            with suppress(psutil.Error):
                process.send_signal(how)
        deadline = time.monotonic() + patience
        while any(map(_alive, alive)) and time.monotonic() < deadline:
            time.sleep(0.1)


def _members(group: int) -> set[psutil.Process]:
    members = set()
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == group:
                members.add(process)
    return members


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False

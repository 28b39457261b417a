"""What every stage script shares: one-line errors, outputs that are whole or absent, a seed."""

from __future__ import annotations

import inspect
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mfnet.errors import UserError

# What files of the data sets were when they were last read.
DIGESTS = Path(".dvc/tmp/digests.parquet")
_STOPPED = 128 + signal.SIGINT


def main(stage: Callable[..., None]) -> None:
    """Run a stage with the command line's arguments; what is wrong outside ends in one line and status 1.

    SIGTERM, which Slurm, Kubernetes and Prefect send, ends it as Ctrl-C does: in one line and status 130.
    """
    _stop_at_first(signal.SIGTERM, signal.SIGINT)
    wanted = list(inspect.signature(stage).parameters)
    if len(sys.argv) - 1 != len(wanted):
        sys.exit(f"error: {Path(sys.argv[0]).stem}: expected {' '.join(wanted).upper() or 'no argument'}")
    try:
        stage(*sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print(f"stopped: {Path(sys.argv[0]).stem}; the same command goes on from here", file=sys.stderr)
        sys.exit(_STOPPED)


def _stop_at_first(*signals: signal.Signals) -> None:
    """The first of these signals is a KeyboardInterrupt. Others are ignored from then on, so that runs are closed.

    Whoever stops a stage often does so twice: DVC, torchrun and a terminal pass on what the stage has heard already.
    """
    # A script's background jobs are not to hear Ctrl-C.
    heard = [one for one in signals if signal.getsignal(one) is not signal.SIG_IGN]

    def stop(number: int, frame: object) -> None:
        for one in heard:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    for one in heard:
        signal.signal(one, stop)


def repository_root() -> Path:
    """The repository that DVC was called in, also for experiments that run in a copy of it."""
    if "DVC_ROOT" in os.environ:
        return Path(os.environ["DVC_ROOT"]).resolve()
    asked = subprocess.run(["git", "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=False)
    return Path(asked.stdout.strip() or ".").resolve()


def partial_of(target: Path) -> Path:
    """Where something lies while it is being written."""
    return target.with_name(target.name + ".partial")


@contextmanager
def whole_folder(target: str | Path, resume: bool = False) -> Iterator[Path]:
    """A folder to fill that appears under its name only when everything in it has been written.

    Args:
        target: its name.
        resume: begin with what an interrupted call has left, for who can tell what of it still holds.
    """
    target = Path(target)
    partial = partial_of(target)
    if not resume:
        shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, exist_ok=True)
    yield partial
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)


@contextmanager
def whole_file(target: str | Path) -> Iterator[Path]:
    """A path to write to that is renamed to its target only when it has been written."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(target)
    yield partial
    partial.replace(target)

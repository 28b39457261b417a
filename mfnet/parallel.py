"""Independent items over a pool of processes, with a line of progress a minute or a bar on a terminal."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import numba
import torch
from tqdm import tqdm

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Item = TypeVar("Item")
Result = TypeVar("Result")


def progress(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Pass items on, showing how many have gone by."""
    yield from tqdm(items, desc=label, total=total, mininterval=0.5 if os.isatty(2) else 20, ncols=90)


def _single_threaded() -> None:
    torch.set_num_threads(1)
    numba.set_num_threads(1)


def parallel_map(
    work: Callable[[Item], Result], items: list[Item], label: str, workers: int | None = None
) -> list[Result]:
    """`[work(item) for item in items]`, in that order, over fresh processes of one thread each.

    Args:
        work: importable by name (or a functools.partial of such a function).
        items: what to work on.
        label: shown with the progress.
        workers: processes; None is one per core. The result does not depend on it.
    """
    workers = min(workers or os.cpu_count() or 1, len(items))
    if workers <= 1:
        return list(progress(map(work, items), label, len(items)))
    context = multiprocessing.get_context("spawn")
    # The linear algebra behind numpy reads its thread count when it is loaded, so it must be in the environment.
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        with ProcessPoolExecutor(workers, context, _single_threaded) as pool:
            return list(progress(pool.map(work, items), label, len(items)))
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

"""Independent items over a pool of processes, with a line of progress a minute or a bar on a terminal."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

# The pool replaces a process that has grown by 300 MB, as fits let one grow; none of its work is lost.
warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor", UserWarning)


def progress(items: Iterable[Item], label: str | None, total: int | None = None) -> Iterator[Item]:
    """Pass items on, showing how many have gone by; None shows nothing."""
    hidden = label is None
    yield from tqdm(items, desc=label, total=total, mininterval=0.5 if os.isatty(2) else 20, ncols=90, disable=hidden)


def made_beside(make: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map(make, items)`, the next result being made in a thread while the caller works with this one."""
    with ThreadPoolExecutor(1) as pool:
        following: Future[Result] | None = None
        for item in items:
            ready, following = following, pool.submit(make, item)
            if ready is not None:
                yield ready.result()
        if following is not None:
            yield following.result()


def parallel_map(
    work: Callable[[Item], Result], items: list[Item], label: str | None, workers: int | None = None
) -> list[Result]:
    """`[work(item) for item in items]`, in that order, over processes of one thread each.

    Args:
        work: importable by name (or a functools.partial of such a function).
        items: what to work on.
        label: shown with the progress; None shows none.
        workers: processes; None is one per core. The result does not depend on it.
    """
    return list(parallel_stream(work, items, label, workers))


def parallel_stream(
    work: Callable[[Item], Result], items: list[Item], label: str | None, workers: int | None = None
) -> Iterator[Result]:
    """`parallel_map`, its results as they come; in the order of the items."""
    workers = min(workers or os.cpu_count() or 1, len(items))
    if workers <= 1:
        yield from progress(map(work, items), label, len(items))
        return
    # The pool is kept for the next call. Results come back as they are, never as read-only views of a file.
    with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        calls = (delayed(_work_in)(os.getcwd(), work, item) for item in items)
        yield from progress(Parallel(return_as="generator", max_nbytes=None)(calls), label, len(items))


def _work_in(folder: str, work: Callable[[Item], Result], item: Item) -> Result:
    # The pool's processes stay where they were started, but the caller may have gone elsewhere since.
    os.chdir(folder)
    return work(item)

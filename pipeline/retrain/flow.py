"""The Prefect flow: looks for new photographs, and brings the model up to date, one task a stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.tasks import exponential_backoff

from mfnet.config import load_params
from mfnet.errors import UserError
from pipeline.retrain.news import News, look
from pipeline.retrain.stages import INDEX, MODEL, StageError, can_pass, due, run_stage, stages_of
from pipeline.tracking import tracked_pipeline

_LOCK = Path(".dvc/tmp/retrain.lock")
_RETRIES, _FIRST_PAUSE = 3, 20


def _can_pass(task: Any, task_run: Any, state: Any) -> bool:
    """Whether another try may help: asked by Prefect after a failure."""
    try:
        state.result()
    except StageError as error:
        return error.passes
    except UserError as error:
        return can_pass(str(error))
    except Exception:
        return False
    return True


_PATIENT: dict[str, Any] = {
    "retries": _RETRIES, "retry_delay_seconds": exponential_backoff(_FIRST_PAUSE), "retry_jitter_factor": 0.3,
    "retry_condition_fn": _can_pass, "cache_policy": NO_CACHE,
}  # fmt: skip


@task(name="look", **_PATIENT)
def look_around(targets: list[str]) -> tuple[News, list[str]]:
    """What is new among the photographs, and which stages are due."""
    return look(load_params()), due(targets)


@task(task_run_name="{name}", **_PATIENT)
def stage(name: str, run_id: str, force: bool) -> None:
    """Bring one stage of dvc.yaml up to date; its lines go to the task's log."""
    run_stage(name, run_id, force, get_run_logger().info)


@flow(name="mfnet-retrain")
def retrain(targets: list[str] | None = None) -> str:
    """Look for new photographs and for what has changed, and bring the model up to date.

    Args:
        targets: stages to bring up to date; None is the model and its scores.

    Returns:
        A sentence that says what was done.
    """
    log, params, wanted = get_run_logger(), load_params(), targets or list(MODEL)
    with _alone(params.retrain.overlap):
        stages, (news, changed) = stages_of(wanted), look_around(wanted)
        log.info(f"{news}; stages that are due: {', '.join(changed) or 'none'}")
        if not news and not changed:
            return "nothing new: the model is up to date"
        with tracked_pipeline(flow_run.name or "retrain") as run_id:
            for name in stages:
                # A stage before this one may have made other photographs.
                force = name == INDEX and bool(look(params))
                stage.with_options(name=name)(name, run_id, force)
    done = f"brought up to date: {', '.join(wanted)}"
    log.info(done)
    return done


@contextmanager
def _alone(overlap: Literal["wait", "refuse"]) -> Iterator[None]:
    """Never two retrainings of one working tree at once: the second one waits, or is refused.

    Raises:
        UserError: refused.
    """
    _LOCK.parent.mkdir(parents=True, exist_ok=True)
    try:
        # The lock is the kernel's: it ends with the process that holds it, however that ends.
        with FileLock(_LOCK, timeout=-1 if overlap == "wait" else 0):
            yield
    except Timeout as error:
        raise UserError("retrain: another retraining of this folder is running; retrain.overlap: wait waits") from error

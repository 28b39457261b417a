"""The Prefect flow: looks for new photographs, brings the model up to date, and lets it challenge the champion."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import mlflow
from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.tasks import exponential_backoff

from mfnet.config import load_params
from mfnet.errors import UserError
from pipeline.registry.aliases import champion
from pipeline.retrain.challenge import Outcome, challenge, is_judged
from pipeline.retrain.news import News, look
from pipeline.retrain.stages import INDEX, MEAN_HEAD_STAGE, MODEL, StageError, can_pass, due, run_stage, stages_of
from pipeline.retrain.summary import notify, summary, with_picture
from pipeline.tracking import connect, tracked_pipeline

_LOCK = Path(".dvc/tmp/retrain.lock")
_RETRIES, _FIRST_PAUSE = 3, 20


def _can_pass(task: Any, task_run: Any, state: Any) -> bool:
    """Whether another try may help: asked by Prefect after a failure."""
    try:
        state.result()
    except StageError as error:
        return error.passes
    except (UserError, MlflowException, OSError) as error:
        return can_pass(str(error))
    except Exception:
        return False
    return True


_PATIENT: dict[str, Any] = {
    "retries": _RETRIES, "retry_delay_seconds": exponential_backoff(_FIRST_PAUSE), "retry_jitter_factor": 0.3,
    "retry_condition_fn": _can_pass, "cache_policy": NO_CACHE,
}  # fmt: skip


class Sight(NamedTuple):
    """What a retraining finds.

    news: of the photographs; changed: stages that are due; judged: whether the model that is there has met the champion
    already; champion: whether there is one.
    """

    news: News
    changed: list[str]
    judged: bool
    champion: bool


@task(name="look", **_PATIENT)
def look_around(targets: list[str]) -> Sight:
    """Look at photographs, stages and registry."""
    client = connect()
    return Sight(look(load_params()), due(targets), is_judged(client), champion(client) is not None)


@task(task_run_name="{name}", **_PATIENT)
def stage(name: str, run_id: str, force: bool) -> None:
    """Bring one stage of dvc.yaml up to date; its lines go to the task's log."""
    run_stage(name, run_id, force, get_run_logger().info)


@task(name="challenge", **_PATIENT)
def challenge_champion() -> Outcome:
    """Compare the model with the champion; the alias moves where the rule says so."""
    return challenge(load_params(), get_run_logger().info)


@flow(name="mfnet-retrain")
def retrain(targets: list[str] | None = None) -> str:
    """Look for new photographs and for what has changed, bring the model up to date, let it challenge the champion.

    Args:
        targets: stages to bring up to date; None is the model and its scores.

    Returns:
        A sentence that says what was done.
    """
    log, params, wanted = get_run_logger(), load_params(), targets or list(MODEL)
    with _alone(params.retrain.overlap), _told(params.retrain.notify):
        sight = look_around(wanted)
        log.info(f"{sight.news}; stages that are due: {', '.join(sight.changed) or 'none'}")
        challenges = set(MODEL) <= set(stages_of(wanted))
        if not sight.news and not sight.changed and (sight.judged or not challenges):
            return "nothing new: the model is up to date"
        with tracked_pipeline(flow_run.name or "retrain") as run_id:
            # The first champion has to be better than the mean head.
            compared = [] if sight.champion or not challenges else [MEAN_HEAD_STAGE]
            for name in stages_of([*wanted, *compared]):
                # A stage before this one may have made other photographs.
                force = name == INDEX and bool(look(params))
                stage.with_options(name=name)(name, run_id, force)
            outcome = challenge_champion() if challenges else None
            done = f"brought up to date: {', '.join(wanted)}"
            if outcome is not None:
                done += f"; version {outcome.challenger}: {outcome.decision.why}"
            page = summary(sight.news, sight.changed, outcome, done)
            _tell(params.retrain.notify, page)
            leave(page, outcome is not None)
    log.info(done)
    return done


@task(name="tell", **_PATIENT)
def leave(page: str, picture: bool) -> None:
    """The page on Prefect and on the run in MLflow."""
    pictured = with_picture(page) if picture else page
    create_markdown_artifact(pictured, key="retraining", description="What was new, compared and decided")
    mlflow.log_text(pictured, "retraining.md")


def _tell(notified: str | None, text: str) -> None:
    why = notify(notified, text) if notified else None
    if why:
        # Nobody's model is worse for it.
        get_run_logger().warning(f"retrain.notify: {notified} was not told: {why}")


@contextmanager
def _told(notified: str | None) -> Iterator[None]:
    """Also of a retraining that fails somebody hears."""
    try:
        yield
    except Exception as error:
        _tell(notified, f"# retraining failed\n\n{error}\n")
        raise


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

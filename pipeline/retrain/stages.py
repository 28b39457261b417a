"""The stages of dvc.yaml: which ones something needs, which of them are due, and how one is run."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable

import networkx
from dvc.exceptions import DvcException
from dvc.repo import Repo

from mfnet.errors import UserError
from pipeline.retrain.processes import run_child
from pipeline.tracking import PARENT_VARIABLE

# The model and its scores; the ablation is asked for by name.
MODEL = ("evaluate",)
INDEX, MEAN_HEAD_STAGE = "index", "baselines@mean_head"
# What another try may cure: the network, a server, a lock that somebody else holds.
_PASSES = re.compile(
    r"acquire lock|is busy|database is locked|timed out|timeout|Connection (refused|reset|aborted)|Max retries exceeded"
    r"|Temporary failure|Name or service not known|\b(HTTP|status|status code)\W{1,3}(429|502|503|504)\b",
    re.IGNORECASE,
)


def can_pass(sentence: str) -> bool:
    """Whether another try may cure what an error says."""
    return _PASSES.search(sentence) is not None


class StageError(Exception):
    """A stage has failed; its own sentence, and whether another try may help."""

    def __init__(self, sentence: str, passes: bool) -> None:
        super().__init__(sentence)
        self.passes = passes


def stages_of(targets: list[str]) -> list[str]:
    """The names of the targets' stages and of all that these need, in the order in which they have to be run.

    Raises:
        UserError: dvc.yaml has no such stage.
    """
    try:
        with Repo() as repo:
            graph, wanted = repo.index.graph, set()
            for stage in (one for target in targets for one in repo.stage.collect(target)):
                wanted |= {stage, *networkx.descendants(graph, stage)}
            order = list(networkx.topological_sort(graph))
            return [stage.addressing for stage in reversed(order) if stage in wanted]
    except DvcException as error:
        raise UserError(f"retrain: {error}; expected stages of dvc.yaml") from error


def due(targets: list[str]) -> list[str]:
    """Those of the targets' stages that have not been run with what they depend on today."""
    try:
        with Repo() as repo:
            return sorted(repo.status(targets=targets, with_deps=True))
    except DvcException as error:
        raise UserError(f"retrain: {error}") from error


def run_stage(name: str, run_id: str, force: bool, tell: Callable[[str], None]) -> None:
    """Bring one stage up to date, nested under an MLflow run.

    Raises:
        StageError: with the sentence that the stage ends in.
    """
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", *(["--force"] if force else []), name]
    status, lines = run_child(command, os.environ | {PARENT_VARIABLE: run_id}, tell)
    if status:
        # Progress and counts say nothing of why.
        errors = [line for line in lines if line.lower().startswith("error")]
        own = [line.removeprefix("error: ") for line in errors if line.startswith("error: ")]
        sentence = (own or errors or lines or ["it wrote nothing"])[-1]
        raise StageError(f"{name}: {sentence}", any(map(can_pass, errors)))

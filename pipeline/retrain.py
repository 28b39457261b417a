"""The pipeline as a Prefect flow: `python -m pipeline.retrain`, or served on a schedule with `--cron "0 3 * * *"`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.runtime import flow_run

from pipeline.tracking import PARENT_VARIABLE, log_metrics, tracked_pipeline


@task(retries=0, task_run_name="dvc {arguments}")
def dvc(arguments: list[str], run_id: str) -> None:
    """Call DVC with its stages nested under the MLflow run; its output goes straight to the terminal."""
    environment = os.environ | {PARENT_VARIABLE: run_id}
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"dvc {' '.join(arguments)} ended with status {done.returncode}")


@flow(name="mfnet-retrain", log_prints=False)
def retrain(targets: list[str] | None = None) -> dict[str, Any]:
    """Look for new photographs, run what changed, and return reports/metrics.json.

    Args:
        targets: stages to bring up to date, whose figures are then not looked at; None is all of them.
    """
    with tracked_pipeline(flow_run.name or "flow") as run_id:
        if Path("data/index.parquet").is_file():
            # DVC watches Multi-PIE's subject list; a scheduled run also notices photographs added without it.
            dvc(["repro", "--single-item", "--force", "index"], run_id)
        dvc(["repro", *(targets or [])], run_id)
        metrics = {} if targets else json.loads(Path("reports/metrics.json").read_text())
        log_metrics(metrics)
    get_run_logger().info("what was asked for is up to date")
    return metrics


def main() -> None:
    """Run once, or serve on a schedule."""
    parser = argparse.ArgumentParser(description="Run the pipeline once, or serve it on a schedule.")
    parser.add_argument("--cron", help="serve, retraining at these times, e.g. '0 3 * * *'")
    parser.add_argument("targets", nargs="*", help="stages to bring up to date; all of them if none is named")
    arguments = parser.parse_args()
    if arguments.cron:
        retrain.serve(name="scheduled", cron=arguments.cron, parameters={"targets": arguments.targets or None})
    else:
        retrain(arguments.targets or None)


if __name__ == "__main__":
    main()

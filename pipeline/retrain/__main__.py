"""`python -m pipeline.retrain`: once, `serve --cron "0 3 * * 1"`, `rollback` or `promote VERSION`."""

from __future__ import annotations

import argparse
import sys

from mlflow.exceptions import MlflowException

from mfnet.errors import UserError
from pipeline.registry.aliases import promote, rollback
from pipeline.retrain.flow import retrain
from pipeline.retrain.server import named_server, scheduling_server
from pipeline.retrain.stages import StageError
from pipeline.tracking import connect


def main() -> None:
    """Command line; what is wrong outside ends in one line and status 1."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.retrain", description="Retrain where there is something new."
    )
    parser.add_argument("--stage", action="append", help="bring this stage up to date instead of the model; repeatable")
    commands = parser.add_subparsers(dest="command")
    serve = commands.add_parser("serve", help="retrain on a schedule, until Ctrl-C")
    serve.add_argument("--cron", required=True, help="when, e.g. '0 3 * * 1': Mondays at three")
    serve.add_argument("--port", type=int, default=4200, help="of the local server, if none is named")
    commands.add_parser("rollback", help="let the version be the champion that was it before")
    by_hand = commands.add_parser("promote", help="let a version be the champion, whatever was measured")
    by_hand.add_argument("version", help="its number on MLflow's page")
    options = parser.parse_args()
    try:
        if options.command == "serve":
            _serve(options.cron, options.port, options.stage)
        elif options.command == "rollback":
            print("champion: version {1}, no longer {0}".format(*rollback(connect())))
        elif options.command == "promote":
            promote(connect(), options.version)
            print(f"champion: version {options.version}")
        else:
            with named_server():
                print(retrain(options.stage))
    except (UserError, StageError) as error:
        sys.exit(f"error: {error}")
    except MlflowException as error:
        sys.exit(f"error: mlflow: {' '.join(str(error).split())}")


def _serve(cron: str, port: int, targets: list[str] | None) -> None:
    with scheduling_server(port) as url:
        print(f"Prefect's page: {url.removesuffix('/api')}/deployments; Ctrl-C ends it", flush=True)
        retrain.serve(name="scheduled", cron=cron, parameters={"targets": targets})


if __name__ == "__main__":
    main()

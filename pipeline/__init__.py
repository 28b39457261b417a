"""One short script per DVC stage, experiment tracking, and the flow that runs them all.

None of the tools underneath may call home: their switches are set here, before any of them is imported. Prefect's
temporary server gets the time it needs on a busy machine.
"""

import os

for _name, _value in {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
}.items():
    os.environ.setdefault(_name, _value)

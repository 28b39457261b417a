"""The command line before any command has run."""

import subprocess
import sys


def test_help_answers_without_loading_what_commands_need() -> None:
    code = (
        "import sys; from mfnet import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: print([name for name in ('numpy', 'pydantic', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "reconstruct" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"

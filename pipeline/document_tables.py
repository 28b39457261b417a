"""`make tables`: write the tables of README.md and docs/ from what the last complete run has measured."""

from pathlib import Path

import pandas as pd

from mfnet.config import DataParams, load_params
from mfnet.errors import UserError
from mfnet.evaluation.report.documents import fill, run_tables
from mfnet.synthesis.outcome import PEOPLE
from pipeline.outputs import main, whole_file

DOCUMENTS = ("README.md", "docs/results.md", "docs/results_tables.md", "docs/people.md")


def stage() -> None:
    """Fill every block of the documents."""
    params = load_params()
    tables = run_tables(Path("reports"), _people(params.data))
    filled = {name: fill(Path(name).read_text(), tables, name) for name in DOCUMENTS}
    for name, text in filled.items():
        with whole_file(name) as path:
            path.write_text(text)
        print(f"wrote the tables of {name}")


def _people(data: DataParams) -> dict[str, pd.DataFrame]:
    """Set -> its people, whom generated sets name."""
    facescape = _read_people(data.facescape)
    in_lab = facescape["person"].str.startswith("lab")
    return {
        "Multi-PIE (training)": _read_people(data.multipie),
        "FaceScape, wild": facescape[~in_lab],
        "FaceScape, lab": facescape[in_lab],
        "AFLW2000-3D": _read_people(data.aflw2000),
    }


def _read_people(root: Path) -> pd.DataFrame:
    if not (root / PEOPLE).is_file():
        raise UserError(f"tables: no file at {root / PEOPLE}; the documents' tables are those of generated people")
    return pd.read_csv(root / PEOPLE)


if __name__ == "__main__":
    main(stage)

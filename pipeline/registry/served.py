"""What MLflow loads and serves of a trained network: rows of photographs in, a head for each person out.

MLflow runs this file by itself, in an environment that has this project's code and not its repository.
"""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType

from mfnet.data.crop import read_image
from mfnet.errors import UserError
from mfnet.reconstruct import Reconstructor

MODEL = "model"
_EXPECTED = "bytes in 'photograph' or a file in 'path'"
_OPTIONAL_COLUMNS: dict[str, DataType | AnyType] = {
    "photograph": DataType.binary,
    "path": DataType.string,
    # Whole numbers too, which an array of doubles would refuse.
    "landmarks": AnyType(),
    "person": DataType.string,
}
SIGNATURE = ModelSignature(
    Schema([ColSpec(kind, name, required=False) for name, kind in _OPTIONAL_COLUMNS.items()]),
    Schema([
        ColSpec(DataType.string, "person"), ColSpec(DataType.binary, "glb"), ColSpec(DataType.string, "parameters"),
    ]),
    ParamSchema([
        ParamSpec("refine", DataType.boolean, default=False), ParamSpec("focal", DataType.double, default=0.0),
        ParamSpec("expressions", DataType.string, default="shared"),
    ]),
)  # fmt: skip


class ServedModel(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined]
    """The network as a function of a table."""

    def load_context(self, context: Any) -> None:
        """Read the model's folder, which MLflow has put somewhere."""
        self._reconstructor = Reconstructor.load(context.artifacts[MODEL])

    @cached_property
    def _refining(self) -> Reconstructor:
        return self._reconstructor.refined()

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Reconstruct every person of a table with a row for each photograph.

        Args:
            context: of MLflow; not looked at.
            model_input: `photograph`, a PNG's or JPEG's bytes, or `path`, of a file that this process can read;
                optional: `landmarks` [68][2] in pixels, of all photographs of a person or of none; `person`, whose
                photograph it is: without it all are of one person.
            params: `refine`; `focal`, in pixels, 0 where it is not known; `expressions`, shared or each: see
                `mfnet.reconstruct.Reconstructor`.

        Returns:
            A row for each person: `person`; `glb`, the bytes of mesh.glb; `parameters`, the text of parameters.json.

        Raises:
            MlflowException: a photograph is missing or cannot be read, or has no face; a server answers 400.
        """
        asked = params or {}
        if model_input.empty:
            raise MlflowException.invalid_parameter_value(f"reconstruct: no photograph; expected {_EXPECTED}")
        people = model_input.get("person", pd.Series("", model_input.index)).fillna("")
        reconstructor = self._refining if asked.get("refine") else self._reconstructor
        try:
            rows = [
                {"person": person, **_answer(reconstructor, rows, asked)}
                for person, rows in model_input.groupby(people, sort=False)
            ]
        except UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        return pd.DataFrame(rows, columns=["person", "glb", "parameters"])


def _answer(reconstructor: Reconstructor, rows: pd.DataFrame, asked: dict[str, Any]) -> dict[str, Any]:
    expressions = asked.get("expressions", "shared")
    if expressions not in ("shared", "each"):
        raise UserError(f"reconstruct: expressions '{expressions}'; expected shared or each")
    with tempfile.TemporaryDirectory() as folder:
        # Files, for a camera writes its focal length into them.
        photographs = [_photograph(row, Path(folder), number) for number, row in enumerate(rows.to_dict("records"), 1)]
        head = reconstructor(photographs, _landmarks(rows), asked.get("focal") or None, expressions)
        head.save(folder)
        return {
            "glb": (Path(folder) / "mesh.glb").read_bytes(),
            "parameters": (Path(folder) / "parameters.json").read_text(),
        }


def _photograph(row: dict[str, Any], folder: Path, number: int) -> Path:
    content, path = row.get("photograph"), row.get("path")
    if isinstance(content, bytes) and content:
        copy = folder / f"photograph_{number}"
        copy.write_bytes(content)
        if read_image(copy) is None:
            raise UserError(f"reconstruct: the bytes of photograph {number} are no readable image")
        return copy
    if isinstance(path, str) and path:
        return Path(path)
    raise UserError(f"reconstruct: photograph {number} is neither there nor named; expected {_EXPECTED}")


def _landmarks(rows: pd.DataFrame) -> list[np.ndarray] | None:
    column = rows.get("landmarks", [])
    given = [points for points in column if isinstance(points, list | np.ndarray) or pd.notna(points)]
    if not given:
        return None
    if len(given) < len(rows):
        raise UserError(f"reconstruct: landmarks of {len(given)} of {len(rows)} photographs; expected all or none")
    try:
        points = [np.array([list(point) for point in of_photograph], float) for of_photograph in given]
    except (TypeError, ValueError) as error:
        raise UserError(f"reconstruct: landmarks are not numbers ({error})") from error
    wrong = next((one.shape for one in points if one.shape != (68, 2)), None)
    if wrong is not None:
        raise UserError(f"reconstruct: landmarks of shape {list(wrong)}; expected 68 x 2, in pixels")
    return points


mlflow.models.set_model(ServedModel())

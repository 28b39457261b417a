"""Heads to turn with the mouse, for a page that needs no network: three.js comes with trimesh."""

from __future__ import annotations

import base64
import html
import json
from importlib.resources import files

import numpy as np
from trimesh import resources, util

from mfnet.evaluation.heat import HEAT_LIMIT_MM, HeatMesh, heat_palette

# The meshes are stored in steps of so many millimetres: a tenth of what is seen.
_STEP_MM = 0.02
_LIBRARY_END = "THREE.GLTFLoader=GLTFLoader;})();"


class Heads:
    """The heads of a page, coloured by their errors or by a texture."""

    def __init__(self) -> None:
        self._heads: list[dict[str, object]] = []
        self._topologies: list[bytes] = []

    def canvas(self, heat: HeatMesh, caption: str) -> str:
        """HTML of a head, to be turned where it stands."""
        faces, steps = heat.mesh.faces.astype("<u4").tobytes(), self._steps(heat)
        if faces not in self._topologies:
            self._topologies.append(faces)
        head = {
            "topology": self._topologies.index(faces),
            "vertices": _text(steps),
            "colours": _text(_palette_indices(heat.error)),
        }
        return self._figure(head, caption)

    def textured(self, glb: bytes, caption: str) -> str:
        """HTML of a head in a GLB file, metres and y up, to be turned where it stands."""
        return self._figure({"glb": base64.b64encode(glb).decode()}, caption)

    def _figure(self, head: dict[str, object], caption: str) -> str:
        # A head that is shown twice is stored once.
        if head not in self._heads:
            self._heads.append(head)
        number = self._heads.index(head)
        return (
            f"<figure class='head'><canvas data-head='{number}'></canvas>"
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )

    @staticmethod
    def _steps(heat: HeatMesh) -> np.ndarray:
        return np.round(heat.mesh.vertices / _STEP_MM).clip(-32768, 32767).astype("<i2")

    def script(self) -> str:
        """HTML that draws them; for the end of the page."""
        data = {
            "step_mm": _STEP_MM,
            "palette": _text(heat_palette()),
            "topologies": [base64.b64encode(faces).decode() for faces in self._topologies],
            "heads": self._heads,
        }
        own = files("mfnet.evaluation.report").joinpath("viewer.js").read_text()
        stored = f"<script type='application/json' id='heads'>{json.dumps(data)}</script>"
        return f"{stored}<script>{_three_js()}</script><script>{own}</script>"


def _palette_indices(error: np.ndarray) -> np.ndarray:
    """Places in `heat_palette`, [V] uint8, of errors [V] in mm; NaN is an error that is not known."""
    last = len(heat_palette()) - 1
    steps = np.round(np.clip(np.nan_to_num(error) / HEAT_LIMIT_MM, 0, 1) * (last - 1))
    return np.where(np.isnan(error), last, steps).astype(np.uint8)


def _text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _three_js() -> str:
    """The library with its controls, out of the template of trimesh's own viewer."""
    archive = util.decompress(resources.get_bytes("templates/viewer.zip"), file_type="zip")
    stream = archive["viewer.html.template"]
    assert stream is not None
    template = stream.read().decode()  # type: ignore[union-attr]
    begin, end = template.index("<script>") + len("<script>"), template.index(_LIBRARY_END) + len(_LIBRARY_END)
    return template[begin:end]

"""Coloured meshes to turn with the mouse, as one page of HTML that needs no network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import trimesh
from trimesh.viewer.notebook import scene_to_html

from mfnet.evaluation.heat import HeatMesh, heat_colours

_BESIDE_MM, _BELOW_MM = 210.0, 360.0


def turntable(rows: Sequence[Sequence[HeatMesh]]) -> str:
    """Predictions in rows, coloured by their error; trimesh's viewer, which carries three.js with it."""
    scene = trimesh.Scene()
    for down, row in enumerate(rows):
        for across, heat in enumerate(row):
            colours = (heat_colours(heat.error) * 255).astype(np.uint8)
            place = [(across - (len(row) - 1) / 2) * _BESIDE_MM, -down * _BELOW_MM, 0]
            mesh = trimesh.Trimesh(heat.mesh.vertices + place, heat.mesh.faces, vertex_colors=colours, process=False)
            scene.add_geometry(mesh)
    return str(scene_to_html(scene))

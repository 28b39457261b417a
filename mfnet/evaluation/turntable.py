"""Coloured meshes to turn with the mouse, as one page of HTML that needs no network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import trimesh
from trimesh.viewer.notebook import scene_to_html

from mfnet.evaluation.heat import HeatMesh, heat_colours

_APART_MM = 210.0


def turntable(heats: Sequence[HeatMesh]) -> str:
    """Predictions beside one another, coloured by their error; trimesh's viewer, which carries three.js with it."""
    scene = trimesh.Scene()
    for order, heat in enumerate(heats):
        colours = (heat_colours(heat.error) * 255).astype(np.uint8)
        place = [(order - (len(heats) - 1) / 2) * _APART_MM, 0, 0]
        mesh = trimesh.Trimesh(heat.mesh.vertices + place, heat.mesh.faces, vertex_colors=colours, process=False)
        scene.add_geometry(mesh)
    return str(scene_to_html(scene))

"""What a reconstruction is, and the files that it is written to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mfnet.render.camera import Crop


@dataclass(frozen=True)
class ViewCamera:
    """Where one photograph was taken from.

    rotation [3] axis-angle of the head and camera [3] (s, tx, ty), the scaled orthography of the crop; crop, the
    square of the photograph that is [-1, 1]; focal, the pinhole's in the photograph's pixels where the head was fitted
    in front of one: the landmarks' mean, where the two cameras agree, is then focal * 2 / (side * s) metres away.
    """

    rotation: np.ndarray
    camera: np.ndarray
    crop: Crop
    focal: float | None


@dataclass(frozen=True)
class Reconstruction:
    """A head without its rotation: vertices [V, 3] metres, faces [F, 3], texture [T, T, 3] RGB uint8.

    confidence [T, T] uint8: how well the best photograph showed each texel, 0 where none did and the texture is its
    mirrored half's or has diffused in from what was seen; parameters: name -> array of shape, expression, jaw;
    cameras: one per photograph; crops and overlays: the photographs around the face, without and with the shape drawn
    over them, RGB uint8; landmarks: [68, 2] in each photograph's pixels, where the answer has them; first_vertices
    [V, 3]: where each photograph has an expression of its own, the first one's head, and vertices are without any;
    else None.
    """

    vertices: np.ndarray
    faces: np.ndarray
    texture: np.ndarray
    confidence: np.ndarray
    parameters: dict[str, np.ndarray]
    cameras: list[ViewCamera]
    crops: list[np.ndarray]
    overlays: list[np.ndarray]
    uv_coordinates: np.ndarray
    uv_faces: np.ndarray
    landmarks: list[np.ndarray]
    first_vertices: np.ndarray | None = None

    def save(self, folder: str | Path) -> None:
        """Write mesh.obj, its .mtl and texture.png, confidence.png, mesh.glb, overlay.png and parameters.json.

        Where each photograph has an expression of its own mesh.* is without any, and mesh_first.glb the first one's.
        """
        import trimesh  # noqa: PLC0415  only needed for writing
        from PIL import Image  # noqa: PLC0415

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        corner = np.zeros(len(self.uv_coordinates), np.int64)
        corner[self.uv_faces.ravel()] = self.faces.ravel()
        material = trimesh.visual.texture.SimpleMaterial(image=Image.fromarray(self.texture), diffuse=[255] * 4)
        visual = trimesh.visual.TextureVisuals(uv=self.uv_coordinates, material=material)
        mesh = trimesh.Trimesh(self.vertices[corner], self.uv_faces, visual=visual, process=False)
        text, extra = trimesh.exchange.obj.export_obj(mesh, mtl_name="mesh.mtl", return_texture=True)
        (folder / "mesh.obj").write_text(text)
        for name, data in extra.items():
            content = data.replace(b"material_0.png", b"texture.png") if name.endswith(".mtl") else None
            if content is not None:
                (folder / name).write_bytes(content)
        Image.fromarray(self.texture).save(folder / "texture.png")
        Image.fromarray(self.confidence).save(folder / "confidence.png")
        self._write_glb(folder / "mesh.glb", self.vertices, corner)
        if self.first_vertices is not None:
            self._write_glb(folder / "mesh_first.glb", self.first_vertices, corner)
        rows = [np.concatenate(pictures, 1) for pictures in (self.crops, self.overlays)]
        Image.fromarray(np.concatenate(rows)).save(folder / "overlay.png")
        content_json: dict[str, Any] = {name: value.tolist() for name, value in self.parameters.items()}
        content_json["cameras"] = [
            {"rotation": c.rotation.tolist(), "camera": c.camera.tolist(), "crop": list(c.crop), "focal": c.focal}
            for c in self.cameras
        ]
        (folder / "parameters.json").write_text(json.dumps(content_json, indent=1) + "\n")

    def _write_glb(self, path: Path, vertices: np.ndarray, corner: np.ndarray) -> None:
        """A head that looks like skin: no metal, and the same normal on both sides of the texture's seams.

        Args:
            path: of the file.
            vertices: [V, 3] metres, y up.
            corner: [T] int64, the vertex of every texture coordinate.
        """
        import trimesh  # noqa: PLC0415
        from PIL import Image  # noqa: PLC0415

        skin = trimesh.visual.material.PBRMaterial(
            baseColorTexture=Image.fromarray(self.texture), metallicFactor=0.0, roughnessFactor=0.8
        )
        visual = trimesh.visual.TextureVisuals(uv=self.uv_coordinates, material=skin)
        normals = trimesh.Trimesh(vertices, self.faces, process=False).vertex_normals[corner]
        mesh = trimesh.Trimesh(vertices[corner], self.uv_faces, vertex_normals=normals, visual=visual, process=False)
        path.write_bytes(trimesh.exchange.gltf.export_glb(trimesh.Scene(mesh), include_normals=True))

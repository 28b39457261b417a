"""FLAME's own files as a HeadModel. Layouts after DECA, RingNet and FLAME_PyTorch, who read the same files."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mfnet.errors import UserError
from mfnet.head.importers.regions import regions_by_place
from mfnet.head.importers.safe_pickle import plain, read_object_npy, read_pickle
from mfnet.head.importers.texture_spaces import grey_texture, load_texture
from mfnet.head.model import (
    N_CONTOUR_LANDMARKS,
    N_CONTOUR_ROWS,
    N_EXPRESSION,
    N_JOINTS,
    N_POSE_CORRECTIVES,
    N_SHAPE,
    N_STATIC_LANDMARKS,
    PARENTS,
    HeadModel,
)

_ALIASES = {"default_v": "v_template", "template_v": "v_template", "joint_regressor": "J_regressor",
            "blendshapes": "posedirs"}  # fmt: skip
_EYE_REGIONS, _FACE_REGION = ("left_eyeball", "right_eyeball"), "face"
# RingNet's embedding is two files: this one lies beside the static one.
_RINGNET_CONTOUR = "flame_dynamic_embedding.npy"
_FULL_FACES, _FULL_BARYCENTRIC = "full_lmk_faces_idx", "full_lmk_bary_coords"


def dictionary(content: Any, path: Path, expected: str) -> dict[str, Any]:
    """A file's content as a dict."""
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds {type(content).__name__}, not a dict; expected {expected}")
    return content


def array(content: dict[str, Any], key: str, path: Path, shape: Sequence[int | None], kind: str = "f") -> np.ndarray:
    """One array of a file, its shape (None: any length), finiteness and kind ("f" or "i") as expected.

    Raises:
        UserError: naming path and key, and what was expected of it.
    """
    expected = "(" + ", ".join("N" if side is None else str(side) for side in shape) + ")"
    if key not in content:
        raise UserError(f"{path}: the key {key} is missing; expected an array of shape {expected}")
    try:
        values = plain(content[key])
    except (ValueError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
        raise UserError(f"{path}: {key} {error}") from error
    fits = values.ndim == len(shape) and all(
        want in (None, side) for want, side in zip(shape, values.shape, strict=True)
    )
    if not fits:
        raise UserError(f"{path}: {key} has shape {values.shape}, expected {expected}")
    if not np.isfinite(values).all():
        raise UserError(f"{path}: {key} holds values that are not finite")
    if kind == "i" and (values != np.round(values)).any():
        raise UserError(f"{path}: {key} holds fractions, expected indices")
    return values.astype(np.int64 if kind == "i" else np.float32)


def load_flame(
    path: Path,
    landmarks: str | Path | None,
    texture: str | Path | None = None,
    masks: str | Path | None = None,
    uv: str | Path | None = None,
) -> HeadModel:
    """FLAME's pickle, landmark embedding, texture space and masks as a HeadModel.

    Args:
        path: generic_model.pkl (2020), flame2023.pkl or flame2023_Open.pkl.
        landmarks: DECA's landmark_embedding.npy, or RingNet's flame_static_embedding.pkl with its
            flame_dynamic_embedding.npy beside it.
        texture: one of the texture spaces that `load_texture` knows; without it the skin is grey and the texture
            coordinates are those of `azimuthal_coordinates`.
        masks: FLAME_masks.pkl; without it the regions are those of `regions_by_place`.
        uv: head_template.obj, for a texture space that has no coordinates of its own.

    Raises:
        UserError: a file or key is missing, or an array is not what it should be.
    """
    if landmarks is None:
        raise UserError(f"landmarks: null; FLAME's {path.name} needs landmark_embedding.npy")
    for name, file in {"landmarks": landmarks, "texture": texture, "masks": masks, "uv": uv}.items():
        if file is not None and not Path(file).is_file():
            raise UserError(f"{name}: no file at {file}")
    content = dictionary(read_pickle(path.read_bytes(), path), path, "a FLAME model")
    content = {_ALIASES.get(key, key): value for key, value in content.items()}
    template, faces = array(content, "v_template", path, (None, 3)), array(content, "f", path, (None, 3), "i")
    n = len(template)
    if not 0 <= faces.min() <= faces.max() < n:
        raise UserError(f"{path}: f refers to vertex {faces.max()}, expected 0..{n - 1}")
    directions = array(content, "shapedirs", path, (n, 3, N_SHAPE + N_EXPRESSION))
    _check_parents(content, path)
    return HeadModel(
        template=template,
        faces=faces,
        shape_directions=directions[..., :N_SHAPE],
        expression_directions=directions[..., N_SHAPE:],
        pose_directions=array(content, "posedirs", path, (n, 3, N_POSE_CORRECTIVES)),
        joint_regressor=array(content, "J_regressor", path, (N_JOINTS, n)),
        skinning_weights=array(content, "weights", path, (n, N_JOINTS)),
        **_embedding(Path(landmarks), len(faces)),
        **(load_texture(Path(texture), faces, uv) if texture else grey_texture(template, faces)),
        regions=_regions(Path(masks), n) if masks else regions_by_place(template, faces),
        traits={},
        actions={},
    )


def _check_parents(content: dict[str, Any], path: Path) -> None:
    if "kintree_table" in content:
        tree = array(content, "kintree_table", path, (2, N_JOINTS), "i")
        if tuple(tree[0, 1:]) != PARENTS[1:]:
            raise UserError(f"{path}: kintree_table has the parents {tree[0].tolist()}, expected {list(PARENTS)}")


def _embedding(path: Path, n_faces: int) -> dict[str, np.ndarray]:
    if path.suffix == ".pkl":
        contour_path = path.with_name(_RINGNET_CONTOUR)
        if not contour_path.is_file():
            raise UserError(f"head.landmarks: {path} needs {_RINGNET_CONTOUR} beside it")
        static = dictionary(read_pickle(path.read_bytes(), path), path, "flame_static_embedding.pkl")
        contour = dictionary(read_object_npy(contour_path), contour_path, _RINGNET_CONTOUR)
        keys = ("lmk_face_idx", "lmk_b_coords", "lmk_face_idx", "lmk_b_coords")
    else:
        contour_path = path
        static = contour = dictionary(read_object_npy(path), path, "DECA's landmark_embedding.npy")
        keys = ("static_lmk_faces_idx", "static_lmk_bary_coords", "dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords")
    rows = (N_CONTOUR_ROWS, N_CONTOUR_LANDMARKS)
    tables = {
        "static_landmark_faces": array(static, keys[0], path, (N_STATIC_LANDMARKS,), "i"),
        "static_landmark_barycentric": array(static, keys[1], path, (N_STATIC_LANDMARKS, 3)),
        "contour_landmark_faces": array(contour, keys[2], contour_path, rows, "i"),
        "contour_landmark_barycentric": array(contour, keys[3], contour_path, (*rows, 3)),
    }
    refer = [(keys[0], "static_landmark_faces"), (keys[2], "contour_landmark_faces")]
    if _FULL_FACES in static:
        # All 68 with the jaw's own points before the inner ones; the moving contour has others, also of a frontal head.
        full = array(static, _FULL_FACES, path, (1, N_CONTOUR_LANDMARKS + N_STATIC_LANDMARKS), "i")
        weights = array(static, _FULL_BARYCENTRIC, path, (1, N_CONTOUR_LANDMARKS + N_STATIC_LANDMARKS, 3))
        tables["jaw_landmark_faces"] = full[0, :N_CONTOUR_LANDMARKS]
        tables["jaw_landmark_barycentric"] = weights[0, :N_CONTOUR_LANDMARKS]
        refer.append((_FULL_FACES, "jaw_landmark_faces"))
    for key, name in refer:
        if not 0 <= tables[name].min() <= tables[name].max() < n_faces:
            raise UserError(f"{path}: {key} refers to triangle {tables[name].max()}, expected 0..{n_faces - 1}")
    return tables


def _regions(path: Path, n_vertices: int) -> dict[str, np.ndarray]:
    """FLAME has no mouth interior, so that region is empty; the eyes are the two eyeballs."""
    masks = dictionary(read_pickle(path.read_bytes(), path), path, "FLAME_masks.pkl")

    def mask(*names: str) -> np.ndarray:
        region = np.zeros(n_vertices, bool)
        for name in names:
            index = array(masks, name, path, (None,), "i")
            if len(index) and not 0 <= index.min() <= index.max() < n_vertices:
                raise UserError(f"{path}: {name} refers to vertex {index.max()}, expected 0..{n_vertices - 1}")
            region[index] = True
        return region

    return {"face": mask(_FACE_REGION), "eyes": mask(*_EYE_REGIONS), "mouth": np.zeros(n_vertices, bool)}

"""FLAME's own files, read without executing them.

The pickles are opened by an unpickler that knows numpy arrays, scipy.sparse matrices and chumpy's plain array and
refuses everything else by name. Layouts: `formats.md` of the project's notes, after DECA and FLAME_PyTorch.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch

from mfnet.errors import UserError
from mfnet.head.model import N_EXPRESSION, N_SHAPE, HeadModel

_NUMPY = {
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"), ("numpy", "dtype"), ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"), ("_codecs", "encode"),
}  # fmt: skip
_ALIASES = {"default_v": "v_template", "template_v": "v_template", "joint_regressor": "J_regressor",
            "blendshapes": "posedirs"}  # fmt: skip
_EYE_REGIONS, _FACE_REGION = ("left_eyeball", "right_eyeball"), "face"


class _Chumpy:
    """A chumpy array's state; only the plain kind, whose value is `x`, is understood."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state


class _SparseMatrix:
    """State of a pickled scipy.sparse csc_matrix, from before and after scipy moved the class."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state

    def dense(self) -> np.ndarray:
        """The matrix as an array."""
        parts = (self.state["data"], self.state["indices"], self.state["indptr"])
        return scipy.sparse.csc_matrix(parts, shape=self.state["_shape"]).toarray()


def _load_storage(data: bytes) -> Any:
    """A torch storage written by torch.save inside the pickle, as DECA's landmark embedding has them."""
    return torch.load(io.BytesIO(data), weights_only=True)


_STANDING_IN: dict[tuple[str, str], Any] = {
    ("chumpy.ch", "Ch"): _Chumpy,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch.storage", "_load_from_bytes"): _load_storage,
    ("collections", "OrderedDict"): dict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _NUMPY:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        if module.startswith("scipy.sparse") and name == "csc_matrix":
            return _SparseMatrix
        if (module, name) in _STANDING_IN:
            return _STANDING_IN[module, name]
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which a FLAME file does not need")


def read_pickle(data: bytes, source: Path) -> Any:
    """Unpickle without executing anything that is not an array.

    Raises:
        UserError: the pickle is truncated or holds another class, which the message names.
    """
    try:
        return _Unpickler(io.BytesIO(data), encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, AttributeError, IndexError, KeyError, TypeError) as error:
        raise UserError(f"{source}: refused as a FLAME file: {error or 'truncated'}") from error


def read_object_npy(path: Path) -> Any:
    """The object inside a 0-d object array, as FLAME's embeddings are saved by np.save."""
    with open(path, "rb") as stream:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        header(stream)
        unpickled = read_pickle(stream.read(), path)
    return unpickled.item() if isinstance(unpickled, np.ndarray) else unpickled


def _array(value: Any, key: str, path: Path) -> np.ndarray:
    if isinstance(value, _SparseMatrix):
        return value.dense()
    if isinstance(value, _Chumpy):
        if "x" not in value.state:
            raise UserError(f"{path}: {key} is a derived chumpy expression; expected a plain array")
        value = value.state["x"]
    return np.asarray(value.numpy() if isinstance(value, torch.Tensor) else value)


def load_flame(
    path: Path, landmarks: str | Path | None, texture: str | Path | None = None, masks: str | Path | None = None
) -> HeadModel:
    """FLAME's pickle, landmark embedding, texture space and masks as a HeadModel.

    Args:
        path: generic_model.pkl (2020), flame2023.pkl or flame2023_Open.pkl.
        landmarks: DECA's landmark_embedding.npy.
        texture: FLAME_texture.npz (keys mean, tex_dir, vt, ft; BGR in 0..255).
        masks: FLAME_masks.pkl.

    Raises:
        UserError: a file or key is missing, or an array has the wrong shape.
    """
    given = {"head.landmarks": landmarks, "head.texture": texture, "head.masks": masks}
    for name, file in given.items():
        if file is None or not Path(file).is_file():
            raise UserError(f"{name}: no file at {file}; FLAME's {path.name} needs it")
    assert landmarks is not None
    assert texture is not None
    assert masks is not None
    content = read_pickle(path.read_bytes(), path)
    content = {_ALIASES.get(key, key): value for key, value in content.items()}
    arrays = {}
    for key in ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights"):
        if key not in content:
            raise UserError(f"{path}: the key {key} is missing; expected a FLAME model")
        arrays[key] = _array(content[key], key, path)
    if arrays["shapedirs"].shape[-1] != N_SHAPE + N_EXPRESSION:
        raise UserError(f"{path}: shapedirs has shape {arrays['shapedirs'].shape}, expected (V, 3, 400)")
    embedding = read_object_npy(Path(landmarks))
    regions = read_pickle(Path(masks).read_bytes(), Path(masks))
    space = np.load(texture, allow_pickle=False)
    n_vertices = len(arrays["v_template"])
    return HeadModel(
        template=arrays["v_template"].astype(np.float32),
        faces=arrays["f"].astype(np.int64),
        shape_directions=arrays["shapedirs"][..., :N_SHAPE].astype(np.float32),
        expression_directions=arrays["shapedirs"][..., N_SHAPE:].astype(np.float32),
        pose_directions=arrays["posedirs"].astype(np.float32),
        joint_regressor=arrays["J_regressor"].astype(np.float32),
        skinning_weights=arrays["weights"].astype(np.float32),
        **_embedding(embedding, Path(landmarks)),
        **_texture(space, Path(texture)),
        regions=_regions(regions, n_vertices, Path(masks)),
    )


def _embedding(embedding: dict[str, Any], path: Path) -> dict[str, np.ndarray]:
    names = {
        "static_landmark_faces": ("static_lmk_faces_idx", np.int64),
        "static_landmark_barycentric": ("static_lmk_bary_coords", np.float32),
        "contour_landmark_faces": ("dynamic_lmk_faces_idx", np.int64),
        "contour_landmark_barycentric": ("dynamic_lmk_bary_coords", np.float32),
    }
    missing = [key for key, _ in names.values() if key not in embedding]
    if missing:
        raise UserError(f"{path}: the key {missing[0]} is missing; expected DECA's landmark_embedding.npy")
    return {name: _array(embedding[key], key, path).astype(kind) for name, (key, kind) in names.items()}


def _texture(space: Any, path: Path) -> dict[str, np.ndarray]:
    missing = [key for key in ("mean", "tex_dir", "vt", "ft") if key not in space]
    if missing:
        raise UserError(f"{path}: the key {missing[0]} is missing; expected FLAME_texture.npz")
    mean = np.asarray(space["mean"], np.float32)[..., ::-1] / 255
    basis = np.moveaxis(np.asarray(space["tex_dir"], np.float32), -1, 0)[..., ::-1] / 255
    return {
        "albedo_mean": np.ascontiguousarray(mean),
        "albedo_basis": np.ascontiguousarray(basis).astype(np.float16),
        "uv_coordinates": np.asarray(space["vt"], np.float32),
        "uv_faces": np.asarray(space["ft"], np.int64),
    }


def _regions(masks: dict[str, Any], n_vertices: int, path: Path) -> dict[str, np.ndarray]:
    """FLAME has no mouth interior, so that region is empty; the eyes are the two eyeballs."""
    missing = [key for key in (*_EYE_REGIONS, _FACE_REGION) if key not in masks]
    if missing:
        raise UserError(f"{path}: the region {missing[0]} is missing; expected FLAME_masks.pkl")

    def mask(*names: str) -> np.ndarray:
        chosen = np.zeros(n_vertices, bool)
        for name in names:
            chosen[_array(masks[name], name, path)] = True
        return chosen

    return {"face": mask(_FACE_REGION), "eyes": mask(*_EYE_REGIONS), "mouth": np.zeros(n_vertices, bool)}

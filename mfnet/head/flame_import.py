"""FLAME's own files, read without executing them.

The pickles are opened by an unpickler that knows numpy arrays, scipy.sparse matrices and chumpy's plain array and
refuses everything else by name. Layouts: `formats.md` of the project's notes, after DECA and FLAME_PyTorch.
"""

from __future__ import annotations

import copyreg
import io
import pickle
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
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
_GREY_SIZE = 64


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
    ("builtins", "object"): object,
    ("__builtin__", "object"): object,
    ("copyreg", "_reconstructor"): copyreg._reconstructor,  # type: ignore[attr-defined]
    ("copy_reg", "_reconstructor"): copyreg._reconstructor,  # type: ignore[attr-defined]
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
        try:
            version = np.lib.format.read_magic(stream)
            one = version == (1, 0)
            (np.lib.format.read_array_header_1_0 if one else np.lib.format.read_array_header_2_0)(stream)
        except ValueError as error:
            raise UserError(f"{path}: not a .npy file ({error})") from error
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
        texture: FLAME_texture.npz (keys mean, tex_dir, vt, ft; BGR in 0..255); without it the skin is grey and the
            texture coordinates are those of `azimuthal_coordinates`.
        masks: FLAME_masks.pkl; without it the regions are those of `regions_by_place`.

    Raises:
        UserError: a file or key is missing, or an array has the wrong shape.
    """
    if landmarks is None:
        raise UserError(f"head.landmarks: null; FLAME's {path.name} needs landmark_embedding.npy")
    for name, file in {"head.landmarks": landmarks, "head.texture": texture, "head.masks": masks}.items():
        if file is not None and not Path(file).is_file():
            raise UserError(f"{name}: no file at {file}")
    content = read_pickle(path.read_bytes(), path)
    content = {_ALIASES.get(key, key): value for key, value in content.items()}
    arrays = {}
    for key in ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights"):
        if key not in content:
            raise UserError(f"{path}: the key {key} is missing; expected a FLAME model")
        arrays[key] = _array(content[key], key, path)
    if arrays["shapedirs"].shape[-1] != N_SHAPE + N_EXPRESSION:
        raise UserError(f"{path}: shapedirs has shape {arrays['shapedirs'].shape}, expected (V, 3, 400)")
    template, faces = arrays["v_template"].astype(np.float32), arrays["f"].astype(np.int64)
    return HeadModel(
        template=template,
        faces=faces,
        shape_directions=arrays["shapedirs"][..., :N_SHAPE].astype(np.float32),
        expression_directions=arrays["shapedirs"][..., N_SHAPE:].astype(np.float32),
        pose_directions=arrays["posedirs"].astype(np.float32),
        joint_regressor=arrays["J_regressor"].astype(np.float32),
        skinning_weights=arrays["weights"].astype(np.float32),
        **_embedding(read_object_npy(Path(landmarks)), Path(landmarks)),
        **(_texture(Path(texture)) if texture else _grey_texture(template, faces)),
        regions=_regions(Path(masks), len(template)) if masks else regions_by_place(template, faces),
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


def _texture(path: Path) -> dict[str, np.ndarray]:
    try:
        space = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise UserError(f"{path}: not a readable .npz ({error}); expected FLAME_texture.npz") from error
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


def azimuthal_coordinates(template: np.ndarray) -> np.ndarray:
    """Texture coordinates [V, 2] by the angle from straight ahead: the face in the middle, the back at the rim."""
    centred = template - (template.min(0) + template.max(0)) / 2
    angle = np.arccos(np.clip(centred[:, 2] / np.linalg.norm(centred, axis=1), -1, 1)) / np.pi
    around = np.arctan2(centred[:, 1], centred[:, 0])
    return (0.5 + 0.5 * angle[:, None] * np.stack([np.cos(around), np.sin(around)], 1)).astype(np.float32)


def _grey_texture(template: np.ndarray, faces: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "albedo_mean": np.full((_GREY_SIZE, _GREY_SIZE, 3), 0.6, np.float32),
        "albedo_basis": np.zeros((0, _GREY_SIZE, _GREY_SIZE, 3), np.float16),
        "uv_coordinates": azimuthal_coordinates(template),
        "uv_faces": faces,
    }


def regions_by_place(template: np.ndarray, faces: np.ndarray) -> dict[str, np.ndarray]:
    """Regions without FLAME's masks: the eyes are the parts apart from the head, the face lies before the ears."""
    n = len(template)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = scipy.sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(n, n))
    part = scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
    eyes = part != np.bincount(part).argmax()
    depth = template[:, 2]
    face = ~eyes & (depth > depth.max() - 0.11) & (np.abs(template[:, 0]) < 0.07)
    face &= np.abs(template[:, 1] - template[depth.argmax(), 1]) < 0.10
    return {"face": face, "eyes": eyes, "mouth": np.zeros(n, bool)}


def _regions(path: Path, n_vertices: int) -> dict[str, np.ndarray]:
    """FLAME has no mouth interior, so that region is empty; the eyes are the two eyeballs."""
    masks = read_pickle(path.read_bytes(), path)
    missing = [key for key in (*_EYE_REGIONS, _FACE_REGION) if key not in masks]
    if missing:
        raise UserError(f"{path}: the region {missing[0]} is missing; expected FLAME_masks.pkl")

    def mask(*names: str) -> np.ndarray:
        chosen = np.zeros(n_vertices, bool)
        for name in names:
            chosen[_array(masks[name], name, path)] = True
        return chosen

    return {"face": mask(_FACE_REGION), "eyes": mask(*_EYE_REGIONS), "mouth": np.zeros(n_vertices, bool)}

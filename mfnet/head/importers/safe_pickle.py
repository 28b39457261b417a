"""Pickles of arrays, read without executing them.

The unpickler knows numpy's arrays, scipy's csc_matrix, torch's tensors and chumpy's plain array, each by a stand-in
that only records; anything else is refused by name. Arrays are made from the recorded bytes after type and size have
been checked, so that no number in a file becomes an address.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch

from mfnet.errors import UserError

_NUMERIC = re.compile(r"[fiub][1248]")
_BYTE_ORDERS = {"<": "<", ">": ">", "=": "=", "|": "="}


class _Dtype:
    """numpy.dtype: its name and byte order."""

    def __init__(self, name: str, *_: Any) -> None:
        self.name, self.order = str(name), "="

    def __setstate__(self, state: tuple) -> None:
        if any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError(f"it holds an array of records ({self.name})")
        self.order = _BYTE_ORDERS[state[1]]

    def resolved(self) -> np.dtype:
        if not _NUMERIC.fullmatch(self.name):
            raise pickle.UnpicklingError(f"it holds an array of type {self.name!r}")
        return np.dtype(self.order + self.name)


class _Array:
    """numpy.ndarray: `value` is an array of numbers, or a list where it holds objects."""

    value: Any = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, raw = state
        count = math.prod(int(side) for side in shape)
        if dtype.name.startswith("O"):
            if not isinstance(raw, list) or len(raw) != count:
                raise pickle.UnpicklingError("it holds an array of objects that are not there")
            self.value = raw
            return
        self.value = _numbers(dtype, raw, count).reshape(shape, order="F" if fortran else "C")


def _numbers(dtype: _Dtype, raw: bytes | str, count: int) -> np.ndarray:
    data = raw.encode("latin1") if isinstance(raw, str) else bytes(raw)
    kind = dtype.resolved()
    if count < 0 or len(data) != count * kind.itemsize:
        raise pickle.UnpicklingError(f"it holds {len(data)} bytes for {count} numbers of type {kind}")
    return np.frombuffer(data, kind)


class _Chumpy:
    """A chumpy array; only the plain kind, whose value is `x`, is understood."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _SparseMatrix:
    """scipy.sparse's csc_matrix, from before and after scipy moved the class."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def dense(self) -> np.ndarray:
        """The matrix as an array, once its indices are known to lie in it."""
        data, indices, indptr = (plain(self.state[name]) for name in ("data", "indices", "indptr"))
        rows, columns = map(int, self.state["_shape"])
        steps = np.diff(indptr)
        fits = len(data) == len(indices) and len(indptr) == columns + 1 and indptr[0] == 0 and indptr[-1] == len(data)
        if not fits or (steps < 0).any() or (len(indices) and (indices.min() < 0 or indices.max() >= rows)):
            raise pickle.UnpicklingError("it holds a sparse matrix whose indices lie outside it")
        return scipy.sparse.csc_matrix((data, indices, indptr), shape=(rows, columns)).toarray()


def _stand_ins() -> dict[tuple[str, str], Any]:
    """What the names in a pickle become; made anew for each, for a pickle may write to what it is given."""
    sparse, chumpy = type("csc_matrix", (_SparseMatrix,), {}), type("Ch", (_Chumpy,), {})

    def encode(text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it holds text encoded as {encoding}")
        return text.encode("latin1")

    def reconstruct(*_: Any) -> _Array:
        return type("ndarray", (_Array,), {})()

    def frombuffer(raw: bytes, dtype: _Dtype, shape: tuple, order: str) -> _Array:
        made = reconstruct()
        made.__setstate__((1, shape, dtype, order == "F", raw))
        return made

    def empty() -> bytes:
        return b""

    def reconstructor(kind: type, *_: Any) -> Any:
        if kind not in (sparse, chumpy):
            raise pickle.UnpicklingError(f"it rebuilds {kind}")
        return kind()

    def scalar(dtype: _Dtype, raw: bytes | str) -> Any:
        return _numbers(dtype, raw, 1)[0]

    def storage(data: bytes) -> Any:
        return torch.load(io.BytesIO(data), weights_only=True)

    def tensor(*recorded: Any) -> torch.Tensor:
        return torch._utils._rebuild_tensor_v2(*recorded)

    multiarray: dict[str, Callable[..., Any]] = {"_reconstruct": reconstruct, "scalar": scalar}
    names: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): "ndarray", ("numpy", "dtype"): type("dtype", (_Dtype,), {}),
        ("_codecs", "encode"): encode, ("chumpy.ch", "Ch"): chumpy,
        ("torch._utils", "_rebuild_tensor_v2"): tensor, ("torch.storage", "_load_from_bytes"): storage,
        ("collections", "OrderedDict"): dict,
    }  # fmt: skip
    names |= {
        (f"numpy.{core}.multiarray", name): made for core in ("core", "_core") for name, made in multiarray.items()
    }
    names |= {(f"scipy.sparse.{module}", "csc_matrix"): sparse for module in ("csc", "_csc")}
    names |= {(f"numpy.{core}.numeric", "_frombuffer"): frombuffer for core in ("core", "_core")}
    builtins = {"set": set, "object": object, "bytes": empty}
    names |= {(module, name): made for module in ("builtins", "__builtin__") for name, made in builtins.items()}
    return names | {(module, "_reconstructor"): reconstructor for module in ("copyreg", "copy_reg")}


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._known = _stand_ins()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._known:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which a FLAME file does not need")
        return self._known[module, name]


def read_pickle(data: bytes, source: Path) -> Any:
    """What a pickle holds: dicts, lists, numbers, text, and stand-ins that `plain` turns into arrays.

    Raises:
        UserError: the pickle is truncated, damaged or holds anything else; the message names it.
    """
    try:
        return _Unpickler(data).load()
    # A damaged pickle can end in nearly any error, among them those of memory and of recursion.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{source}: refused as a FLAME file: {reason or 'truncated'}") from error


def read_object_npy(path: Path) -> Any:
    """The object inside a 0-d object array, as FLAME's embeddings are saved by np.save.

    Raises:
        UserError: the file is not such an array.
    """
    with open(path, "rb") as stream:
        try:
            version = np.lib.format.read_magic(stream)
            one = version == (1, 0)
            (np.lib.format.read_array_header_1_0 if one else np.lib.format.read_array_header_2_0)(stream)
        except ValueError as error:
            raise UserError(f"{path}: not a .npy file ({error})") from error
        unpickled = read_pickle(stream.read(), path)
    if isinstance(unpickled, _Array) and isinstance(unpickled.value, list) and len(unpickled.value) == 1:
        return unpickled.value[0]
    raise UserError(f"{path}: holds no single object; expected a dict saved by np.save")


def plain(value: Any) -> np.ndarray:
    """The array of numbers behind a stand-in.

    Raises:
        ValueError: it is a derived chumpy expression or no array of numbers.
    """
    if isinstance(value, _SparseMatrix):
        return value.dense()
    if isinstance(value, _Chumpy):
        if not isinstance(value.state, dict) or "x" not in value.state:
            raise ValueError("is a derived chumpy expression; expected a plain array")
        return plain(value.state["x"])
    if isinstance(value, _Array):
        value = value.value
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if isinstance(value, list):
        value = np.stack([plain(part) for part in value])
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
        raise ValueError(f"is {type(value).__name__}; expected an array of numbers")
    return value

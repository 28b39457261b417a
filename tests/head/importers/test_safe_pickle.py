"""Files made to harm: none may run code, read beside an array or end the interpreter."""

import contextlib
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

from mfnet.errors import UserError
from mfnet.head.importers.safe_pickle import _Unpickler, plain, read_object_npy, read_pickle

HERE = Path("some.pkl")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["<f8", ">f4", "<u4", "|b1", "<i8"])
def test_arrays_of_every_protocol_order_and_layout_come_back(protocol: int, kind: str) -> None:
    array = (np.arange(24).reshape(2, 3, 4) % 2).astype(kind)
    for given in (array, np.asfortranarray(array), array[0, 0, :1], np.zeros((0, 3), kind)):
        found = plain(read_pickle(pickle.dumps(given, protocol=protocol), HERE))
        np.testing.assert_array_equal(found, given)
        assert found.dtype.kind == given.dtype.kind


def test_a_sparse_matrix_and_a_tensor_come_back() -> None:
    dense = np.diag([1.0, 0, 3, 0])[:3]
    found = plain(read_pickle(pickle.dumps(scipy.sparse.csc_matrix(dense)), HERE))
    np.testing.assert_array_equal(found, dense)
    tensor = torch.arange(12).view(3, 4).T
    np.testing.assert_array_equal(plain(read_pickle(pickle.dumps(tensor), HERE)), tensor.numpy())


class Forged:
    """A numpy dtype whose state says that its eight bytes hold a Python object."""

    def __reduce__(self):  # type: ignore[no-untyped-def]
        fields = {"a": (np.dtype("O"), 0)}
        return np.dtype, ("V8", False, True), (3, "|", None, ("a",), fields, 8, 1, 0)


class ArrayOf:
    def __init__(self, dtype: object, raw: bytes, shape: tuple) -> None:
        self.dtype, self.raw, self.shape = dtype, raw, shape

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), (1, self.shape, self.dtype, False, self.raw)


@pytest.mark.parametrize(
    "forged",
    [
        ArrayOf(Forged(), b"\x41" * 8, (1,)),
        ArrayOf(np.dtype("O"), b"\x41" * 8, (1,)),
        ArrayOf(np.dtype("f8"), b"\x41" * 8, (10**6,)),
        ArrayOf(np.dtype("f8"), b"\x41" * 8, (-1,)),
        ArrayOf(np.dtype("f8"), b"\x41" * 8, (2**62, 8)),
        ArrayOf(np.dtype("U2"), b"\x41" * 8, (1,)),
    ],
)
def test_an_array_that_is_not_what_its_bytes_are_is_refused(forged: ArrayOf) -> None:
    with pytest.raises(UserError, match=r"some\.pkl: refused"):
        read_pickle(pickle.dumps(forged, protocol=2), HERE)


@pytest.mark.parametrize("indices", [[0, 10**9], [0, -5], [0, 3]])
def test_sparse_indices_outside_the_matrix_are_refused(indices: list[int]) -> None:
    matrix = scipy.sparse.csc_matrix(np.eye(3)[:, :2])
    matrix.indices = np.array(indices, np.int32)
    with pytest.raises(pickle.UnpicklingError, match="outside it"):
        plain(read_pickle(pickle.dumps(matrix), HERE))


def test_sparse_columns_that_do_not_add_up_are_refused() -> None:
    matrix = scipy.sparse.csc_matrix(np.eye(3))
    for indptr in ([0, 1, 2, 10**9], [0, 2, 1, 3], [1, 1, 2, 3], [0, 3]):
        matrix.indptr = np.array(indptr, np.int32)
        with pytest.raises(pickle.UnpicklingError, match="outside it"):
            plain(read_pickle(pickle.dumps(matrix), HERE))


class Bomb:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return os.system, ("touch exploded",)


def test_a_torch_blob_inside_a_pickle_is_not_executed_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    torch.save({"bomb": Bomb()}, buffer)

    class Blob:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return torch.storage._load_from_bytes, (buffer.getvalue(),)

    for content in (Blob(), Bomb()):
        with pytest.raises(UserError, match="refused"):
            read_pickle(pickle.dumps(content), HERE)
    assert not Path("exploded").exists()


@pytest.mark.parametrize("name", [b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"cchumpy.ch\nCh\n"])
def test_what_a_pickle_writes_to_its_names_does_not_reach_the_next(name: bytes) -> None:
    """BUILD sets attributes on whatever it is given, classes and functions too."""
    marked = b"}X\x04\x00\x00\x00markK\x01s"
    written = b"\x80\x02" + name + b"N" + marked + b"\x86b" + b"."
    with contextlib.suppress(UserError):
        assert read_pickle(written, HERE).mark == 1
    module, kind = name[1:].decode().split()
    assert not hasattr(_Unpickler(b"")._known[module, kind], "mark")


@pytest.mark.parametrize("cut", [0, 1, 10, 40, 100, -1])
def test_a_truncated_pickle_is_one_line(cut: int) -> None:
    data = pickle.dumps({"a": np.arange(30.0)}, protocol=2)[:cut]
    with pytest.raises(UserError, match="refused as a FLAME file"):
        read_pickle(data, HERE)


def test_only_an_object_is_read_from_an_object_array(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", {"a": 1}, allow_pickle=True)  # type: ignore[arg-type]
    assert read_object_npy(tmp_path / "a.npy") == {"a": 1}
    np.save(tmp_path / "b.npy", np.arange(3))
    (tmp_path / "c.npy").write_bytes(b"nothing")
    for name in ("b.npy", "c.npy"):
        with pytest.raises(UserError, match=name):
            read_object_npy(tmp_path / name)

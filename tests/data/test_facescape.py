"""The benchmark's files."""

from pathlib import Path

import numpy as np
import pytest

from mfnet.data.facescape import Benchmark, read_obj, write_obj
from mfnet.errors import UserError


def test_obj_keeps_order_and_splits_polygons(tmp_path: Path) -> None:
    vertices, faces = np.random.default_rng(0).normal(size=(5, 3)), np.array([[4, 2, 0], [1, 2, 3]])
    write_obj(tmp_path / "a.obj", vertices, faces)
    found = read_obj(tmp_path / "a.obj")
    np.testing.assert_allclose(found[0], vertices, atol=1e-6)
    np.testing.assert_array_equal(found[1], faces)
    (tmp_path / "b.obj").write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1/1 2/2/2 3//3 4\n")
    np.testing.assert_array_equal(read_obj(tmp_path / "b.obj")[1], [[0, 1, 2], [0, 2, 3]])
    (tmp_path / "c.obj").write_text("v 0 zero 0\n")
    with pytest.raises(UserError, match="not a readable OBJ"):
        read_obj(tmp_path / "c.obj")


def test_missing_constants_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no folder data/"):
        Benchmark(tmp_path)
    for folder in ("wild_gt_mesh", "lab_gt_mesh"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    with pytest.raises(UserError, match="no meshes in"):
        Benchmark(tmp_path)
    for folder in ("wild_gt_mesh", "lab_gt_mesh"):
        (tmp_path / "data" / folder / "000.obj").touch()
    with pytest.raises(UserError, match=r"wild_rotations\.npy is missing"):
        Benchmark(tmp_path)

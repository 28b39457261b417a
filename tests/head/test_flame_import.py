"""FLAME's files are imitated from the procedural head, with the traps of the originals."""

import io
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mfnet.errors import UserError
from mfnet.head import Flame, HeadModel
from mfnet.render import Renderer


def load(paths: dict[str, Path]) -> HeadModel:
    for name in ("chumpy", "chumpy.ch"):
        sys.modules[name] = None  # type: ignore[assignment]  importing it would be an error
    return HeadModel.load(paths["model"], paths["landmarks"], texture=paths["texture"], masks=paths["masks"])


def test_flame_files_give_the_same_head(flame_files: dict[str, Path], head: HeadModel) -> None:
    loaded = load(flame_files)
    parameters = torch.randn(2, 100), torch.randn(2, 50), 0.2 * torch.randn(2, 15)
    expected, found = Flame(head)(*parameters), Flame(loaded)(*parameters)
    torch.testing.assert_close(found.vertices, expected.vertices, atol=1e-7, rtol=0)
    torch.testing.assert_close(found.landmarks, expected.landmarks, atol=1e-7, rtol=0)
    np.testing.assert_allclose(loaded.albedo_mean, head.albedo_mean, atol=1e-6)
    np.testing.assert_array_equal(loaded.regions["eyes"], head.regions["eyes"])


class Bomb:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return os.system, ("touch exploded",)


def test_a_pickle_that_would_run_something_is_refused_by_name(
    flame_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    flame_files["model"].write_bytes(pickle.dumps({"v_template": Bomb()}))
    with pytest.raises(UserError, match=r"posix\.system|nt\.system"):
        load(flame_files)
    assert not Path("exploded").exists()


def test_truncated_file_and_missing_key_are_named(flame_files: dict[str, Path]) -> None:
    whole = flame_files["model"].read_bytes()
    flame_files["model"].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"generic_model\.pkl"):
        load(flame_files)
    flame_files["model"].write_bytes(pickle.dumps({"f": np.zeros((1, 3))}))
    with pytest.raises(UserError, match="v_template"):
        load(flame_files)


@pytest.mark.parametrize("protocol", [0, 2])
def test_embedding_alone_is_enough_and_the_pickles_protocol_does_not_matter(
    flame_files: dict[str, Path], head: HeadModel, protocol: int
) -> None:
    data = pickle.dumps(pickle.loads(flame_files["model"].read_bytes()), protocol=protocol)
    flame_files["model"].write_bytes(data)
    for name in ("chumpy", "chumpy.ch"):
        sys.modules[name] = None  # type: ignore[assignment]
    loaded = HeadModel.load(flame_files["model"], landmarks=flame_files["landmarks"])
    np.testing.assert_array_equal(loaded.template, head.template)
    face, known = loaded.face_region, head.face_region
    assert (face & known).sum() > 0.7 * known.sum()
    eyeballs = head.template[loaded.regions["eyes"]]
    assert np.abs(np.abs(eyeballs[:, 0]).mean() - 0.0316) < 0.002
    assert loaded.uv_coordinates.min() >= 0
    assert loaded.uv_coordinates.max() <= 1
    out = Renderer(loaded, 64, 64, 10).albedo(torch.randn(1, 10))
    torch.testing.assert_close(out, torch.full((1, 3, 64, 64), 0.6))


def test_missing_companion_file_is_named(flame_files: dict[str, Path]) -> None:
    flame_files["masks"].unlink()
    with pytest.raises(UserError, match=r"head\.masks"):
        load(flame_files)


def test_torch_blob_inside_a_pickle_is_read_without_executing_it(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"bomb": Bomb()}, buffer)
    data = pickle.dumps({"x": buffer.getvalue()})
    path = tmp_path / "masks.pkl"
    path.write_bytes(data)
    from mfnet.head.flame_import import _load_storage

    with pytest.raises(pickle.UnpicklingError):
        _load_storage(buffer.getvalue())

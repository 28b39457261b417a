"""FLAME's files are imitated from the packaged head, with the traps of the originals."""

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


def test_the_jaws_own_points_are_read_and_kept(flame_files: dict[str, Path], head: HeadModel, tmp_path: Path) -> None:
    load(flame_files).save(tmp_path / "head.npz")
    faces, barycentric = HeadModel.load(tmp_path / "head.npz").jaw_landmarks
    np.testing.assert_array_equal(faces, head.contour_landmark_faces[30])
    np.testing.assert_allclose(barycentric, head.contour_landmark_barycentric[30], atol=1e-6)
    embedding = np.load(flame_files["landmarks"], allow_pickle=True)[()]
    embedding["full_lmk_faces_idx"] = embedding["full_lmk_faces_idx"] + 10**6
    np.save(flame_files["landmarks"], embedding)
    with pytest.raises(UserError, match="full_lmk_faces_idx refers to triangle"):
        load(flame_files)


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
    with pytest.raises(UserError, match=r"masks: no file"):
        load(flame_files)


def test_directions_of_colour_are_in_the_mean_s_order(flame_files: dict[str, Path], head: HeadModel) -> None:
    loaded = load(flame_files)
    assert np.ptp(head.albedo_basis.astype(float), axis=-1).max() > 0.01
    np.testing.assert_allclose(loaded.albedo_basis.astype(float), head.albedo_basis.astype(float), atol=1e-3)


def rewritten(paths: dict[str, Path], **changes: object) -> None:
    """The model's pickle with some keys changed; None leaves one out."""
    content = pickle.loads(paths["model"].read_bytes()) | changes
    data = pickle.dumps({key: value for key, value in content.items() if value is not None}, protocol=2)
    paths["model"].write_bytes(data)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("posedirs", None, "the key posedirs is missing"),
        ("posedirs", np.zeros((5, 3, 9)), r"posedirs has shape \(5, 3, 9\), expected"),
        ("shapedirs", 3.0, "shapedirs is float; expected an array"),
        ("v_template", "text", "v_template is str; expected an array"),
        ("v_template", np.full((7, 3), np.nan), "v_template holds values that are not finite"),
        ("f", np.array([[0, 1, 10**6]]), "f refers to vertex 1000000"),
        ("f", np.array([[0, 1, 1.5]]), "f holds fractions"),
        ("kintree_table", np.array([[0, 0, 0, 0, 0], range(5)]), "has the parents"),
        ("weights", np.array(["a"]), "holds an array of type 'U1'"),
    ],
)
def test_what_is_wrong_with_a_key_is_one_line_with_its_name(
    flame_files: dict[str, Path], key: str, value: object, message: str
) -> None:
    rewritten(flame_files, **{key: value})
    with pytest.raises(UserError, match=message) as caught:
        load(flame_files)
    assert "generic_model.pkl" in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], None, 7, {}])
def test_a_pickle_of_something_else_is_one_line(flame_files: dict[str, Path], content: object) -> None:
    for name in ("model", "masks"):
        whole = flame_files[name].read_bytes()
        flame_files[name].write_bytes(pickle.dumps(content))
        with pytest.raises(UserError, match=flame_files[name].name):
            load(flame_files)
        flame_files[name].write_bytes(whole)
    np.save(flame_files["landmarks"], content, allow_pickle=True)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"landmark_embedding\.npy"):
        load(flame_files)


def test_masks_beyond_the_head_are_one_line(flame_files: dict[str, Path]) -> None:
    masks = {"left_eyeball": np.array([0]), "right_eyeball": np.array([10**6]), "face": np.array([1])}
    flame_files["masks"].write_bytes(pickle.dumps(masks))
    with pytest.raises(UserError, match="right_eyeball refers to vertex 1000000"):
        load(flame_files)


def test_a_derived_chumpy_expression_is_refused(flame_files: dict[str, Path]) -> None:
    content = pickle.loads(flame_files["model"].read_bytes())
    del content["shapedirs"].x
    flame_files["model"].write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(UserError, match="shapedirs is a derived chumpy expression"):
        load(flame_files)


def test_ringnets_two_embedding_files_are_read(flame_files: dict[str, Path], head: HeadModel) -> None:
    folder = flame_files["model"].parent
    static = {"lmk_face_idx": head.static_landmark_faces.astype(np.uint32),
              "lmk_b_coords": head.static_landmark_barycentric.astype(float)}  # fmt: skip
    (folder / "flame_static_embedding.pkl").write_bytes(pickle.dumps(static, protocol=0))
    contour = {"lmk_face_idx": list(head.contour_landmark_faces.astype(np.uint32)),
               "lmk_b_coords": list(head.contour_landmark_barycentric.astype(float))}  # fmt: skip
    flame_files["landmarks"] = folder / "flame_static_embedding.pkl"
    with pytest.raises(UserError, match=r"needs flame_dynamic_embedding\.npy beside it"):
        load(flame_files)
    np.save(folder / "flame_dynamic_embedding.npy", contour, allow_pickle=True)  # type: ignore[arg-type]
    loaded = load(flame_files)
    for name in ("static_landmark_faces", "contour_landmark_faces"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(head, name))
    np.testing.assert_allclose(loaded.contour_landmark_barycentric, head.contour_landmark_barycentric, atol=1e-6)
    np.testing.assert_array_equal(loaded.jaw_landmarks[0], head.contour_landmark_faces[0])

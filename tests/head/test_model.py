import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mfnet.errors import UserError
from mfnet.head import HeadModel


def test_saved_head_loads_unchanged_and_saves_to_the_same_bytes(head: HeadModel, tmp_path: Path) -> None:
    head.save(tmp_path / "a.npz")
    again = HeadModel.load(tmp_path / "a.npz")
    for field in dataclasses.fields(head):
        value, found = getattr(head, field.name), getattr(again, field.name)
        if isinstance(value, dict):
            assert found.keys() == value.keys()
            for name, array in value.items():
                np.testing.assert_array_equal(found[name], array)
        elif value is not None:
            np.testing.assert_array_equal(found, value)
    assert again.fingerprint == head.fingerprint
    again.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file at"):
        HeadModel.load(tmp_path / "head.npz")
    np.savez(tmp_path / "whole.npz", template=np.zeros((400, 3)))
    whole = (tmp_path / "whole.npz").read_bytes()
    for broken in (b"not a zip", b"", whole[: len(whole) // 2], whole[:-10]):
        (tmp_path / "head.npz").write_bytes(broken)
        with pytest.raises(UserError, match=r"not an \.npz file|damaged"):
            HeadModel.load(tmp_path / "head.npz")
    np.savez(tmp_path / "other.npz", template=np.zeros((4, 3)))
    with pytest.raises(UserError, match="lacks the array faces"):
        HeadModel.load(tmp_path / "other.npz")


def test_wrong_shape_says_which_and_what_was_expected(head: HeadModel) -> None:
    with pytest.raises(UserError, match=r"skinning_weights has shape .* expected"):
        dataclasses.replace(head, skinning_weights=head.skinning_weights[:-1])
    with pytest.raises(UserError, match="faces refers to index"):
        dataclasses.replace(head, faces=head.faces + 10**6)
    jaw = dict(zip(("jaw_landmark_faces", "jaw_landmark_barycentric"), head.jaw_landmarks, strict=True))
    with pytest.raises(UserError, match=r"jaw_landmark_faces has shape \(16,\), expected \(17,\)"):
        dataclasses.replace(head, **jaw | {"jaw_landmark_faces": jaw["jaw_landmark_faces"][1:]})
    with pytest.raises(UserError, match="there is only one"):
        dataclasses.replace(head, jaw_landmark_faces=jaw["jaw_landmark_faces"])


def test_displacements_are_stored_to_a_ten_thousandth_of_a_millimetre(head: HeadModel, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    moved = dataclasses.replace(head, template=head.template + rng.normal(size=head.template.shape).astype(np.float32))
    moved.save(tmp_path / "moved.npz")
    assert np.abs(HeadModel.load(tmp_path / "moved.npz").template - moved.template).max() < 0.6e-7 + 1e-7 * 4


def test_a_fingerprint_changes_with_what_parameters_mean_and_with_nothing_else(head: HeadModel) -> None:
    longer = dataclasses.replace(head, shape_directions=head.shape_directions * np.float32(1.01))
    darker = dataclasses.replace(head, albedo_mean=head.albedo_mean * np.float32(0.5))
    assert longer.fingerprint != head.fingerprint
    assert darker.fingerprint == head.fingerprint

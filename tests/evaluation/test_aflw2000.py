"""The generated AFLW2000-3D, its reader, and the landmark error on it."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from mfnet.config import SynthesizeParams, load_params
from mfnet.data.aflw2000 import BINS, AflwItem, load_aflw2000
from mfnet.data.crop import read_image
from mfnet.errors import UserError
from mfnet.evaluation.aflw2000 import normalised_mean_error, picture_sheet, predict_landmarks, score, summarise
from mfnet.head import HeadModel
from mfnet.reconstruct import Reconstructor
from mfnet.synthesis.aflw2000_tree import synthesize_aflw2000

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(head: HeadModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs per bin."""
    root = tmp_path_factory.mktemp("aflw2000")
    head.save(root / "head.npz")
    made = SynthesizeParams(
        multipie_subjects=2, recordings=1, illuminations=[7], wild_per_bin=1, lab_subjects=1, aflw2000_per_bin=2,
        relief_mm=0.5,
    )  # fmt: skip
    assert synthesize_aflw2000(root / "AFLW2000", head, root / "head.npz", made, 0, 1) == 6
    return root / "AFLW2000"


def test_generated_files_are_the_sets(folder: Path) -> None:
    items = load_aflw2000(folder)
    assert [item.bin for item in items] == [name for name in BINS for _ in range(2)]
    image = read_image(items[0].image)
    assert image is not None
    assert image.shape == (450, 450, 3)
    content = scipy.io.loadmat(items[0].image.with_suffix(".mat"))
    shapes = {"pt3d_68": (3, 68), "Pose_Para": (1, 7), "Shape_Para": (199, 1), "Exp_Para": (29, 1),
              "Tex_Para": (199, 1), "Illum_Para": (1, 10), "Color_Para": (1, 7), "roi": (1, 4)}  # fmt: skip
    assert {name: content[name].shape for name in shapes} == shapes


def test_turning_back_by_the_annotated_pose_makes_every_head_look_ahead(folder: Path) -> None:
    # The set's own convention, written out: row forms of Rx, Ry and Rz, y and z turned to be up and to the viewer.
    for path in folder.glob("*.mat"):
        content = scipy.io.loadmat(path)
        (sp, sy, sr), (cp, cy, cr) = np.sin(content["Pose_Para"][0, :3]), np.cos(content["Pose_Para"][0, :3])
        about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
        about_z = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
        seen = content["pt3d_68"].T * [1, -1, 1]
        ahead = seen @ (about_x @ about_y @ about_z)
        eyes = ahead[45] - ahead[36]
        assert eyes[0] / np.linalg.norm(eyes) > 0.99
        bridge_to_chin = ahead[8] - ahead[27]
        assert abs(bridge_to_chin[0]) < 0.1 * abs(bridge_to_chin[1])
        assert bridge_to_chin[1] < 0
        assert ahead[30, 2] > ahead[[36, 45], 2].max()


def test_positive_yaw_is_the_nose_to_image_right(folder: Path) -> None:
    for item in load_aflw2000(folder)[2:]:
        nose, eyes = item.landmarks[30, 0], item.landmarks[[36, 45], 0].mean()
        assert np.sign(nose - eyes) == np.sign(item.yaw)


def test_error_is_the_mean_distance_over_the_boxs_size(rng: np.random.Generator) -> None:
    true = rng.uniform(size=(68, 2))
    true = (true - true.min(0)) / np.ptp(true, axis=0) * [100, 400] + 30
    assert normalised_mean_error(true + [3, 4], true) == pytest.approx(100 * 5 / 200)
    predicted = true.copy()
    predicted[:34] += [0, 2]
    assert normalised_mean_error(predicted, true) == pytest.approx(0.5)


def test_the_mean_is_over_bins_and_edges_belong_to_the_lower_one(rng: np.random.Generator) -> None:
    true = rng.uniform(0, 100, (68, 3))
    side = np.sqrt(np.prod(np.ptp(true[:, :2], axis=0)))
    yaws, shifts = [0, -30, 30.1, -60, 88, 95], [1, 3, 4, 6, 7, 9]
    items = [AflwItem(f"{yaw}", Path(), true, yaw) for yaw in yaws]
    landmarks = [true[:, :2] + [shift * side / 100, 0] for shift in shifts]
    found = summarise(score(items, landmarks))
    assert {name: round(values["nme_percent"], 6) for name, values in found.items()} == {
        "0-30": 2, "30-60": 5, "60-90": 8, "mean": 5}  # fmt: skip
    alone = summarise(score(items[:2] * 2 + items[4:5], landmarks[:2] * 2 + landmarks[4:5]))
    assert alone["mean"] == {"nme_percent": pytest.approx((2 + 7) / 2), "n": 5}


def test_what_is_fitted_to_a_photographs_landmarks_is_found_there(head: HeadModel, folder: Path) -> None:
    items = load_aflw2000(folder)
    fitting = Reconstructor.fitting(head, load_params(ROOT / "params.yaml"), "cpu")
    landmarks = predict_landmarks(fitting, items, batch=4)
    errors = score(items, landmarks).groupby("bin")["nme_percent"].mean()
    # The fit takes the hidden jaw for the visible outline, so profiles are off by that; frontal faces are not.
    assert errors["0-30"] < 1.5
    assert errors.max() < 7
    sheet = picture_sheet(fitting, items, landmarks, per_bin=3)
    assert sheet.shape == (3 * 160, 9 * 160, 3)
    assert (sheet[:160, 6 * 160 :] == 255).all()


def test_what_is_not_the_set_is_named_in_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.aflw2000: no image0\*\.jpg"):
        load_aflw2000(tmp_path)
    (tmp_path / "image00002.jpg").write_bytes((folder / "image00002.jpg").read_bytes())
    with pytest.raises(UserError, match=r"image00002\.mat is missing"):
        load_aflw2000(tmp_path)
    for content in (b"", b"junk" * 100):
        (tmp_path / "image00002.mat").write_bytes(content)
        with pytest.raises(UserError, match=r"image00002\.mat is not a readable \.mat file"):
            load_aflw2000(tmp_path)
    scipy.io.savemat(tmp_path / "image00002.mat", {"pt3d_68": np.zeros((3, 68)), "Pose_Para": np.zeros((1, 6))})
    with pytest.raises(UserError, match=r"Pose_Para has shape \(1, 6\), expected \(1, 7\)"):
        load_aflw2000(tmp_path)
    scipy.io.savemat(tmp_path / "image00002.mat", {"pt2d": np.zeros((2, 68)), "Pose_Para": np.zeros((1, 7))})
    with pytest.raises(UserError, match=r"pt3d_68 has shape \(0,\), expected \(3, 68\)"):
        load_aflw2000(tmp_path)

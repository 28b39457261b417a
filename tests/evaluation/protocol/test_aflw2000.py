"""The generated AFLW2000-3D, its reader, and the landmark error on it."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
import torch

from mfnet.config import SynthesizeParams
from mfnet.data.aflw2000 import BINS, AflwItem, load_aflw2000
from mfnet.data.crop import read_image
from mfnet.errors import UserError
from mfnet.evaluation.protocol.aflw2000 import normalised_mean_error, predict_landmarks, score, summarise
from mfnet.evaluation.sheets import landmark_sheet
from mfnet.head import Directions, HeadModel
from mfnet.method.network import Decoded, decode, mean_parameters
from mfnet.reconstruct import CropSetting, Prediction, Reconstructor
from mfnet.synthesis.aflw2000_tree import synthesize_aflw2000


@pytest.fixture(scope="module")
def folder(head: HeadModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs per bin."""
    root = tmp_path_factory.mktemp("aflw2000")
    head.save(root / "head.npz")
    made = SynthesizeParams(
        multipie_subjects=2, recordings=1, illuminations=[7], wild_per_bin=1, lab_subjects=1, aflw2000_per_bin=2,
        relief_mm=0.5,
    )  # fmt: skip
    assert synthesize_aflw2000(root / "AFLW2000", root / "head.npz", made, 0, 1) == 6
    return root / "AFLW2000"


def test_generated_files_are_the_sets(folder: Path) -> None:
    items = load_aflw2000(folder)
    assert [item.bin for item in items] == [name for name in BINS for _ in range(2)]
    image = read_image(items[0].image)
    assert image is not None
    assert image.shape == (450, 450, 3)
    content = scipy.io.loadmat(items[0].image.with_suffix(".mat"))
    shapes = {"pt3d_68": (3, 68), "Pose_Para": (1, 7), "Shape_Para": (199, 1), "Exp_Para": (29, 1),
              "Tex_Para": (199, 1), "Illum_Para": (1, 10), "Color_Para": (1, 7), "roi": (1, 4),
              "pt2d": (2, 21)}  # fmt: skip
    assert {name: content[name].shape for name in shapes} == shapes
    # The same seed gives the same bytes, whenever it does.
    assert b"20" not in items[0].image.with_suffix(".mat").read_bytes()[:116]


def test_the_annotated_pose_leads_back_to_the_heads_own_axes(folder: Path, head: HeadModel) -> None:
    # The set's own convention, written out: row forms of Rx, Ry and Rz; y = height + 1 - (image's y).
    jaw, barycentric = head.jaw_landmarks
    index = np.concatenate([jaw, head.static_landmark_faces])
    weights = np.concatenate([barycentric, head.static_landmark_barycentric])
    mean_head = (head.template[head.faces[index]] * weights[..., None]).sum(1)
    for path in folder.glob("*.mat"):
        content = scipy.io.loadmat(path)
        pitch, yaw, roll, *translation, scale = content["Pose_Para"][0].astype(float)
        (sp, sy, sr), (cp, cy, cr) = np.sin([pitch, yaw, roll]), np.cos([pitch, yaw, roll])
        about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
        about_z = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
        seen = content["pt3d_68"].T * [1, -1, 1] + [0, 451, 0]
        own = (seen - translation) @ (about_x @ about_y @ about_z) / scale
        apart = np.linalg.norm(own - mean_head, axis=1)
        assert apart.mean() < 0.012
        assert apart.max() < 0.04


def test_landmarks_lie_on_what_the_photograph_shows(folder: Path) -> None:
    """Within the outline of the lips most faces are redder than a twelfth of the image above and below it."""
    redder = []
    for item in load_aflw2000(folder):
        image = read_image(item.image)
        assert image is not None
        red, green, blue = image.astype(float).transpose(2, 0, 1)
        redness = (red - green) / (red + green + blue + 1)
        lips = item.landmarks[48:60, :2]

        def within(shift: tuple[int, int], redness=redness, lips=lips) -> float:  # type: ignore[no-untyped-def]
            mask = np.zeros(redness.shape, np.uint8)
            cv2.fillPoly(mask, [np.round(lips + shift - 0.5).astype(np.int32)], 1)
            return float(redness[mask > 0].mean())

        redder.append(within((0, 0)) > max(within((0, -36)), within((0, 36))))
    assert np.mean(redder) > 0.6


def test_pixels_are_counted_as_matlab_does(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "image00002.jpg").write_bytes((folder / "image00002.jpg").read_bytes())
    content = {"pt3d_68": np.tile([[1.0], [450.0], [7.0]], 68), "Pose_Para": np.zeros((1, 7))}
    scipy.io.savemat(tmp_path / "image00002.mat", content)
    (item,) = load_aflw2000(tmp_path)
    # The centres of the first column and the last row.
    np.testing.assert_array_equal(item.landmarks, np.tile([0.5, 449.5, 7.0], (68, 1)))


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
    alone = summarise(score(items[:2] + items[4:5], landmarks[:2] + landmarks[4:5]))
    assert alone["30-60"] == {"nme_percent": None, "n": 0}
    assert alone["mean"] == {"nme_percent": None, "n": 3}


def test_a_turned_head_that_is_known_exactly_has_no_error_hidden_jaw_included(head: HeadModel, tmp_path: Path) -> None:
    parameters = mean_parameters(1, 1, Directions())._replace(shape=torch.randn(1, 100))
    parameters.rotation[0, 0] = torch.tensor([0.1, 1.2, 0.05])
    reconstructor = Reconstructor(lambda *_: Prediction(parameters, None), head, CropSetting(), torch.device("cpu"))

    def known(method: Callable[[Decoded], torch.Tensor]) -> np.ndarray:
        return method(decode(reconstructor.flame, parameters))[0, :, :2].numpy().astype(float)

    # Moved and scaled so that the crop around the landmarks is [-1, 1].
    points = known(lambda decoded: reconstructor.flame.fixed_landmarks(decoded.projected))
    low, high = points.min(0), points.max(0)
    scale = 2 / (1.1 * CropSetting().crop_scale * (high - low).mean())
    place = parameters.camera[0, 0, 1:] - torch.tensor((low + high) / 2)
    parameters.camera[0, 0] += torch.tensor([np.log(scale), 0, 0])
    parameters.camera[0, 0, 1:] = scale * place
    points = known(lambda decoded: reconstructor.flame.fixed_landmarks(decoded.projected))
    cv2.imwrite(str(tmp_path / "image00002.jpg"), np.zeros((450, 450, 3), np.uint8))
    item = AflwItem("image00002", tmp_path / "image00002.jpg", np.c_[points * 100 + 225, np.zeros(68)], 69.0)

    (found,) = predict_landmarks(reconstructor, [item], batch=1)
    assert normalised_mean_error(found, item.landmarks[:, :2]) < 0.5
    moving = known(lambda decoded: decoded.landmarks) * 100 + 225
    assert normalised_mean_error(moving, item.landmarks[:, :2]) > 2


def test_what_is_fitted_to_a_photographs_landmarks_is_found_there(head: HeadModel, folder: Path) -> None:
    items = load_aflw2000(folder)
    fitting = Reconstructor.fitting(head, device="cpu")
    landmarks = predict_landmarks(fitting, items, batch=4)
    errors = score(items, landmarks).groupby("bin")["nme_percent"].mean()
    # The fit takes the hidden jaw for the visible outline, so profiles are off by that; frontal faces are not.
    assert errors["0-30"] < 1.5
    assert errors.max() < 7
    sheet = landmark_sheet(fitting, items, landmarks, per_bin=3)
    assert sheet.shape == (3 * 160, 9 * 160, 3)
    assert (sheet[:160, 6 * 160 :] == 255).all()


def test_what_is_not_the_set_is_named_in_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no image0\*\.jpg"):
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
    scipy.io.savemat(tmp_path / "image00002.mat", {"pt3d_68": np.zeros((3, 68)), "Pose_Para": np.full((1, 7), np.nan)})
    with pytest.raises(UserError, match="Pose_Para holds what is not a finite number"):
        load_aflw2000(tmp_path)
    scipy.io.savemat(tmp_path / "image00002.mat", {"pt2d": np.zeros((2, 68)), "Pose_Para": np.zeros((1, 7))})
    with pytest.raises(UserError, match=r"pt3d_68 has shape \(0,\), expected \(3, 68\)"):
        load_aflw2000(tmp_path)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_damaged_annotation_is_refused_or_read(folder: Path, tmp_path: Path, compressed: bool) -> None:
    (tmp_path / "image00002.jpg").write_bytes((folder / "image00002.jpg").read_bytes())
    path = tmp_path / "image00002.mat"
    content = scipy.io.loadmat(folder / "image00002.mat")
    scipy.io.savemat(path, {name: content[name] for name in ("pt3d_68", "Pose_Para")}, do_compression=compressed)
    whole = path.read_bytes()
    refusals = []
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            load_aflw2000(tmp_path)
        except UserError as error:
            refusals.append(str(error))
    assert len(refusals) > 5
    assert all("image00002.mat" in refusal for refusal in refusals)

"""Index, crops, rejects, triplets and precomputed flow on a small generated tree."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import grid_sample

from mfnet.config import FitParams, SynthesizeParams
from mfnet.data.batches import TripletBatch, TripletData, augment
from mfnet.data.faces import CropRules, FaceStore, preprocess
from mfnet.data.flow_store import FlowStore
from mfnet.data.index import build_index
from mfnet.data.landmarks import MIRROR, OUTER_EYES, Sidecar
from mfnet.data.multipie import CAMERA_YAW
from mfnet.data.pairs import PAIRS, VIEWS, PairEvidence
from mfnet.data.triplets import mine_triplets
from mfnet.errors import UserError
from mfnet.fitting.guided_flow import GuidedFlow, by_landmarks, by_network
from mfnet.fitting.precomputed_flow import FlowGrid, precompute_flow
from mfnet.flow import load_flow_estimator
from mfnet.head import Directions, HeadModel
from mfnet.render.camera import Lens
from mfnet.synthesis.multipie_tree import synthesize_multipie

RULES = CropRules(image_size=128, scale=1.25, min_face_pixels=60, min_sharpness=2)


def mined(faces: pd.DataFrame, count: int = 20, seed: int = 0) -> pd.DataFrame:
    return mine_triplets(faces, count, (15, 90), 0.34, seed)


@pytest.fixture(scope="module")
def tree(head: HeadModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("multipie")
    head.save(root / "head.npz")
    small = SynthesizeParams(
        multipie_subjects=3, recordings=1, illuminations=[0, 7], wild_per_bin=1, lab_subjects=1, relief_mm=0.5
    )
    synthesize_multipie(root / "tree", root / "head.npz", small, 0, 1)
    return root / "tree"


@pytest.fixture(scope="module")
def faces(tree: Path) -> tuple[pd.DataFrame, Path]:
    target = tree.parent / "faces"
    kept, rejects = preprocess(build_index(tree), tree, RULES, None, target, 1)
    assert rejects.empty
    return kept, target


def test_generated_tree_is_multipies(tree: Path) -> None:
    index = build_index(tree)
    assert index["problem"].isna().all()
    assert set(index["camera"]) == set(CAMERA_YAW)
    # Subject 3's no-flash photograph from camera 24_0 is missing, as files of the original are.
    assert len(index) == 3 * 15 * 2 - 1
    image = cv2.imread(str(tree / index["path"][0]))
    assert image.shape == (480, 640, 3)


def test_camera_sign_positive_yaw_turns_the_nose_to_image_right(tree: Path) -> None:
    find = Sidecar(tree)
    blank = np.zeros((1, 1, 3), np.uint8)
    for row in build_index(tree).to_dict("records"):
        points = find(row["path"], blank)
        assert points is not None
        nose = points[30, 0] - points[list(OUTER_EYES), 0].mean()
        if abs(CAMERA_YAW[row["camera"]]) >= 30:
            assert nose * CAMERA_YAW[row["camera"]] > 0, row["path"]


def test_faces_carry_landmarks_inside_their_crop(faces: tuple[pd.DataFrame, Path]) -> None:
    kept, folder = faces
    points = np.stack(kept["landmarks"].to_list())
    assert np.abs(points).max() < 1
    row = kept.iloc[0]
    assert FaceStore(folder).image(row["shard"], row["row"]).shape == (128, 128, 3)


def test_each_reject_has_its_reason(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tree"
    shutil.copytree(tree, copy)
    paths = build_index(copy)["path"].tolist()
    (copy / paths[0]).write_bytes(b"not a picture")
    cv2.imwrite(str(copy / paths[1]), np.full((480, 640, 3), 90, np.uint8))
    table = pd.read_parquet(copy / "landmarks.parquet")
    table[table["path"] != paths[2]].to_parquet(copy / "landmarks.parquet")
    (copy / paths[0]).with_name("stray.png").write_bytes(b"")
    kept, rejects = preprocess(build_index(copy), copy, RULES, None, tmp_path / "faces", 1)
    reasons = dict(zip(rejects["path"], rejects["reason"], strict=True))
    assert reasons[paths[0]] == "unreadable image"
    assert reasons[paths[1]].startswith("blurred")
    assert reasons[paths[2]] == "no face found"
    assert len(reasons) == 4
    assert len(kept) == len(paths) - 3
    strict = RULES._replace(min_face_pixels=9999.0)
    with pytest.raises(UserError, match=r"none of .* photographs was kept.*min_face_pixels"):
        preprocess(build_index(copy), copy, strict, None, tmp_path / "none", 1)


def test_missing_side_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected that file, or face_alignment"):
        Sidecar(tmp_path)


def test_triplets_are_of_one_instant_and_split_by_subject(faces: tuple[pd.DataFrame, Path], tree: Path) -> None:
    triplets = mined(faces[0])
    assert (triplets["split"] == "train").sum() == 20
    assert (triplets["front_yaw"] == 0).all()
    assert (triplets["left_yaw"] < 0).all()
    assert (triplets["right_yaw"] > 0).all()
    assert (triplets["left_shard"] == triplets["front_shard"]).all()
    held_out = set(triplets.loc[triplets["split"] == "validation", "subject"])
    assert held_out
    assert held_out.isdisjoint(triplets.loc[triplets["split"] == "train", "subject"])
    keys = ["front_shard", "front_row", "left_row", "right_row"]
    assert not triplets.duplicated(keys).any()
    pd.testing.assert_frame_equal(triplets, mined(faces[0]))
    others = mined(faces[0], seed=1)
    assert not triplets[keys].reset_index(drop=True).equals(others[keys].reset_index(drop=True))
    # A triplet is named by what it shows: drawn again, among others, it has the same name.
    shared = triplets.reset_index().merge(others.reset_index(), on=keys, suffixes=("", "_other"))
    assert len(shared)
    assert (shared["id"] == shared["id_other"]).all()
    assert triplets.index.is_unique


def test_the_index_is_of_contents_and_not_of_times(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "copy", copy_function=shutil.copyfile)
    pd.testing.assert_frame_equal(build_index(tree), build_index(tmp_path / "copy"))
    path = build_index(tree)["path"][0]
    (tmp_path / "copy" / path).write_bytes((tree / path).read_bytes() + b" ")
    changed = build_index(tmp_path / "copy")["digest"] != build_index(tree)["digest"]
    assert changed.sum() == 1


def test_fewer_triplets_where_no_more_exist(faces: tuple[pd.DataFrame, Path], tree: Path) -> None:
    assert len(mined(faces[0], 10**5)) == 5 * 7 * 7 + 7 * 6


def test_one_sided_faces_are_explained(faces: tuple[pd.DataFrame, Path], tree: Path) -> None:
    with pytest.raises(UserError, match="no instant has a frontal"):
        mined(faces[0][faces[0]["yaw"] >= 0])


@pytest.fixture(scope="module", params=["packaged network", "landmark fit"])
def data(faces: tuple[pd.DataFrame, Path], tree: Path, head: HeadModel, request: pytest.FixtureRequest) -> TripletData:
    triplets = mined(faces[0])
    target = tree.parent / f"flow guided by {request.param}"
    store = FaceStore(faces[1])
    by_fit = by_landmarks(head, Directions(), FitParams())
    guide = by_network(head) if request.param == "packaged network" else by_fit
    assert guide is not None
    guided = GuidedFlow(head, guide, RULES.image_size, load_flow_estimator("dis"))
    summary = precompute_flow(triplets, store, guided, FlowGrid(4, 16), target, torch.device("cpu"), "", workers=2)
    assert summary["pairs"] == 4 * len(triplets)
    assert summary["bytes_per_triplet"] < 2e9 / 36_000
    return TripletData(triplets, "train", store, FlowStore(target, with_flow=True))


def test_precomputed_flow_goes_from_landmark_to_landmark(data: TripletData) -> None:
    """Even where the views are far apart: by a quarter of the crop, within two and a half of its 128 pixels."""
    batch = next(data.batches(16))
    assert batch.pairs.target is not None
    assert batch.pairs.consistency is not None
    inner = torch.arange(27, 68)
    missed, moved = [], []
    for pair, (a, b) in enumerate(PAIRS):
        here, there = (batch.landmarks[:, VIEWS.index(view), inner] for view in (b, a))
        there_by_flow = grid_sample(batch.pairs.target[:, pair], here[:, None], align_corners=False)[:, :, 0].mT
        known = grid_sample(batch.pairs.consistency[:, pair], here[:, None], align_corners=False)[:, 0, 0] > 0.999
        missed.append((there_by_flow - there).norm(dim=-1)[known])
        moved.append((here - there).norm(dim=-1)[known])
    assert len(torch.cat(missed)) > 100
    assert torch.cat(missed).median() < 2.5 / 64
    assert torch.cat(moved).median() > 8 / 64


def test_augmentation_keeps_targets_on_their_landmarks() -> None:
    """Views that are affine images of one another: a target read at a landmark of b is that landmark in a."""
    draw = torch.Generator().manual_seed(1)
    n, size = 6, 32
    landmarks = torch.empty(n, 3, 68, 2)
    landmarks[:, 0] = torch.rand(n, 68, 2, generator=draw) * 1.2 - 0.6
    matrix = torch.eye(2) + 0.15 * torch.randn(n, 2, 2, 2, generator=draw)
    offset = 0.1 * torch.randn(n, 2, 1, 2, generator=draw)
    landmarks[:, 1:] = landmarks[:, :1] @ matrix.mT + offset
    middle = (torch.arange(size) + 0.5) * 2 / size - 1
    places = torch.stack(torch.meshgrid(middle, middle, indexing="xy"), -1).view(1, -1, 2)
    targets = torch.empty(n, 4, 2, size, size)
    for pair, (a, b) in enumerate(PAIRS):
        a_from_front, from_b = a != "front", VIEWS.index(a if a != "front" else b) - 1
        inverse = torch.linalg.inv(matrix[:, from_b])
        there = places @ matrix[:, from_b].mT + offset[:, from_b]
        back = (places - offset[:, from_b]) @ inverse.mT
        targets[:, pair] = (there if a_from_front else back).mT.reshape(n, 2, size, size)
    ones = torch.ones(n, 4, 1, size, size)
    batch = TripletBatch(torch.rand(n, 3, 3, 64, 64), landmarks, PairEvidence(ones, ones, targets))
    moved = augment(batch, 0.1, torch.Generator().manual_seed(2))
    assert moved.pairs.target is not None
    assert moved.pairs.consistency is not None
    for pair, (a, b) in enumerate(PAIRS):
        at = moved.landmarks[:, VIEWS.index(b)][:, None]
        there_by_flow = grid_sample(moved.pairs.target[:, pair], at, align_corners=False)[:, :, 0].mT
        known = grid_sample(moved.pairs.consistency[:, pair], at, align_corners=False)[:, 0, 0] > 0.999
        assert known.float().mean() > 0.5
        torch.testing.assert_close(there_by_flow[known], moved.landmarks[:, VIEWS.index(a)][known], atol=1e-4, rtol=0)


def test_augmentation_moves_pinholes_with_the_pictures() -> None:
    """What each view's pinhole sees of points in space goes where the picture of them goes."""
    n, draw = 8, torch.Generator().manual_seed(0)
    lens = Lens(3 + torch.rand(n * 3, generator=draw), torch.randn(n * 3, 2, generator=draw))
    points = torch.randn(n * 3, 68, 3, generator=draw) + torch.tensor([0.0, 0.0, 8.0])

    def projected(lens: Lens, points: torch.Tensor) -> torch.Tensor:
        through = points[..., :2] / points[..., 2:] * lens.focal[:, None, None] + lens.principal[:, None]
        return through.view(n, 3, 68, 2)

    evidence = PairEvidence(torch.ones(n, 4, 1, 8, 8), torch.ones(n, 4, 1, 8, 8), None)
    batch = TripletBatch(torch.rand(n, 3, 3, 32, 32), projected(lens, points), evidence, lens)
    moved = augment(batch, 0.1, torch.Generator().manual_seed(2))
    assert moved.lens is not None
    mirrored = torch.rand(n, generator=torch.Generator().manual_seed(2)) < 0.5
    # A mirrored picture is one of the mirrored world, whose left and right views have changed places.
    world = points.view(n, 3, 68, 3).clone()
    world[mirrored] = world[mirrored][:, [0, 2, 1]][:, :, MIRROR] * torch.tensor([-1.0, 1, 1])
    torch.testing.assert_close(projected(moved.lens, world.flatten(0, 1)), moved.landmarks, atol=1e-4, rtol=0)
    assert mirrored.any()
    assert not mirrored.all()


def test_known_focal_lengths_come_with_the_batches_that_ask_for_them(
    tree: Path, data: TripletData, tmp_path: Path
) -> None:
    index = build_index(tree)
    focal = dict.fromkeys(index["camera"].unique(), 1500.0) | {"05_1": 1400.0}
    kept, _ = preprocess(index, tree, RULES, None, tmp_path / "faces", 1, focal=focal)
    triplets = mined(kept)
    store, flow = FaceStore(tmp_path / "faces"), data._flow
    lens = TripletData(triplets, "train", store, flow, in_perspective=True).batch([0, 1]).lens
    assert lens is not None
    row = triplets[triplets["split"] == "train"].iloc[0]
    for place, (view, length) in enumerate((("front", 1400), ("left", 1500), ("right", 1500))):
        x, y, side = row[f"{view}_crop"]
        assert lens.focal[place].item() == pytest.approx(length * 2 / side)
        assert lens.principal[place].tolist() == pytest.approx([(320 - x) * 2 / side, (240 - y) * 2 / side], abs=1e-4)
    assert TripletData(triplets, "train", store, flow).batch([0]).lens is None
    with pytest.raises(UserError, match="focal: no length for camera 01_0"):
        preprocess(index, tree, RULES, None, tmp_path / "none", 1, focal={"05_1": 1400.0})


def test_augmentation_keeps_landmarks_on_their_pixels(data: TripletData) -> None:
    """A bright square painted at each view's nose must lie under the moved landmark."""
    batch = next(data.batches(8))
    images = torch.zeros_like(batch.images)
    for triplet in range(len(images)):
        for view in range(3):
            x, y = ((batch.landmarks[triplet, view, 30] + 1) * 64).long().tolist()
            images[triplet, view, :, y - 2 : y + 3, x - 2 : x + 3] = 1
    moved = augment(batch._replace(images=images), 0.1, torch.Generator().manual_seed(0))
    nose = moved.landmarks[:, :, 30]
    grid = nose.flatten(0, 1)[:, None, None]
    under = torch.nn.functional.grid_sample(moved.images.flatten(0, 1), grid, align_corners=False)
    assert (under[nose.flatten(0, 1).abs().amax(1) < 0.95] > 0.5).all()


def test_mirroring_swaps_the_side_views_and_names_the_mirrored_landmarks(data: TripletData) -> None:
    batch = next(data.batches(8))
    for seed in range(3):
        moved = augment(batch, 0.0, torch.Generator().manual_seed(seed))
        yaw = lambda b: (b.landmarks[:, :, 30, 0] - b.landmarks[:, :, list(OUTER_EYES), 0].mean(-1)).sign()  # noqa: E731
        assert torch.equal(yaw(moved)[:, 1:], yaw(batch)[:, 1:])
        same = (moved.landmarks == batch.landmarks).all((1, 2, 3))
        flipped = batch.landmarks[~same][:, [0, 2, 1]][:, :, torch.from_numpy(MIRROR)] * torch.tensor([-1.0, 1.0])
        torch.testing.assert_close(moved.landmarks[~same], flipped)


def test_batches_cover_the_split_once_in_order(data: TripletData) -> None:
    landmarks = torch.cat([batch.landmarks for batch in data.batches(6)])
    expected = [np.stack(data.rows[f"{view}_landmarks"]).reshape(-1, 68, 2) for view in VIEWS]
    torch.testing.assert_close(landmarks, torch.from_numpy(np.stack(expected, 1)).float())


def test_a_spread_takes_both_ends_and_no_triplet_twice(data: TripletData) -> None:
    few = data.spread(3)
    assert [few.rows.index[0], few.rows.index[-1]] == [data.rows.index[0], data.rows.index[-1]]
    assert few.rows.index.is_unique
    assert len(few) == 3
    assert data.spread(10**6) is data

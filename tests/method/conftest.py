"""A handful of generated triplets to train on."""

from pathlib import Path

import pytest
import torch
import yaml
from workbench import Workbench

from mfnet.config import Params, SynthesizeParams
from mfnet.data.batches import TripletData
from mfnet.data.faces import CropRules, FaceStore, preprocess
from mfnet.data.flow_store import FlowStore
from mfnet.data.index import build_index
from mfnet.data.triplets import mine_triplets
from mfnet.fitting.guided_flow import GuidedFlow, by_landmarks
from mfnet.fitting.precomputed_flow import FlowGrid, precompute_flow
from mfnet.flow import load_flow_estimator
from mfnet.head import Directions, HeadModel
from mfnet.synthesis.multipie_tree import synthesize_multipie

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def bench(head: HeadModel, tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    root = tmp_path_factory.mktemp("training")
    head.save(root / "head.npz")
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["head"]["path"] = str(root / "head.npz")
    content["data"] |= {"multipie": str(root / "tree"), "triplets": 12}
    content["network"]["weights"] = None
    content["train"] |= {
        "steps": 8,
        "batch": 4,
        "multiop_pairs": 1,
        "log_every": 1,
        "checkpoint_every": 5,
        "learning_rate": 1e-3,
    }
    params = Params.model_validate(content)
    small = SynthesizeParams(
        multipie_subjects=2, recordings=1, illuminations=[7], wild_per_bin=1, lab_subjects=1, relief_mm=0.5
    )
    synthesize_multipie(root / "tree", root / "head.npz", small, 0, 1)
    rules = CropRules(params.data.image_size, params.data.crop_scale, 60, 2)
    faces, _ = preprocess(build_index(root / "tree"), root / "tree", rules, None, root / "faces", 1, focal=1500)
    triplets = mine_triplets(faces, 12, (15, 90), 0.15, 0)
    store = FaceStore(root / "faces")
    guided = GuidedFlow(
        head, by_landmarks(head, Directions(), params.fit), params.data.image_size, load_flow_estimator("classical")
    )
    precompute_flow(triplets, store, guided, FlowGrid(4, 16), root / "flow", torch.device("cpu"), "")
    stores = (store, FlowStore(root / "flow", with_flow=True))
    data = {split: TripletData(triplets, split, *stores, in_perspective=True) for split in ("train", "validation")}
    return Workbench(params, data, head)

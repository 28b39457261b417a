from pathlib import Path

import pytest
import yaml

from mfnet.config import Params, load_params
from mfnet.errors import UserError

ROOT = Path(__file__).parents[1]


def changed(tmp_path: Path, key: str, value: object) -> Path:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    section = content
    *parents, last = key.split(".")
    for parent in parents:
        section = section[parent]
    section[last] = value
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("name", ["params.yaml", "params.paper.yaml"])
def test_both_files_of_the_repository_are_valid(name: str) -> None:
    assert isinstance(load_params(ROOT / name), Params)


def test_the_papers_numbers_are_in_params_paper() -> None:
    params = load_params(ROOT / "params.paper.yaml")
    assert params.data.triplets == 36_000
    weights = params.loss
    assert (weights.multiop, weights.singlelmk, weights.eye, weights.lip, weights.reg) == (1, 1, 1, 0.5, 1e-4)
    assert params.network.encoder == "resnet50"
    assert params.train.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("loss.eyes", 1, r"loss\.eyes: unknown key; known here: multiop, singlelmk, eye"),
        ("lr", 1, r"lr: unknown key; known here: seed"),
        ("loss.eye", -1, r"loss\.eye: .*greater than or equal to 0"),
        ("data.image_size", 100, r"data\.image_size: "),
        ("data.side_yaw", [60, 15], r"data: .*low <= high"),
        ("flow.stride", 3, r"flow\.stride 3 must divide"),
        ("flow.estimator", "dis", r"dis has no gradient"),
        ("train.steps", "many", r"train\.steps: "),
        ("train.variants", ["half"], r"train\.variants\.0: "),
        ("train.further_seeds", [0, 1], r"further_seeds \[0, 1\] must be other than seed 0"),
        ("train.further_seeds", [1, 1], r"further_seeds \[1, 1\] must be other than seed 0, each once"),
    ],
)
def test_a_wrong_parameter_is_named_in_one_line(tmp_path: Path, key: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_params(changed(tmp_path, key, value))
    assert "\n" not in str(caught.value)


def test_a_training_is_named_by_its_variant_and_a_further_seed(tmp_path: Path) -> None:
    params = load_params(changed(tmp_path, "train.further_seeds", [7, 3]))
    assert params.trainings("no_eye") == ["no_eye", "no_eye-7", "no_eye-3"]
    for name, seed in (("no_eye", params.seed), ("no_eye-7", 7)):
        variant, alone = params.of_training(name)
        assert (variant, alone.seed, alone.train.steps) == ("no_eye", seed, params.train.steps)
        # As a model's config.json it must be read again.
        assert Params.model_validate_json(alone.model_dump_json()) == alone
    for name in ("full-x", "ful-1", "full-007", "full-", "refined"):
        with pytest.raises(UserError, match=f"'{name}' is not a training"):
            params.of_training(name)


def test_missing_file_and_broken_yaml_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [1\nb: 2")
    with pytest.raises(UserError, match="not YAML") as caught:
        load_params(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)

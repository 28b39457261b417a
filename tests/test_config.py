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
    assert params.loss.weights == {"multiop": 1, "singlelmk": 1, "eye": 1, "lip": 0.5, "reg": 1e-4}
    assert params.ablation.loss == params.loss
    assert params.network.encoder == "resnet50"
    assert params.train.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("loss.eyes", 1, r"loss: .*'eyes' is no term of the loss; known here: .*eye, landmark_weights, lip"),
        ("loss", {"eye": 1}, r"loss: .*the weight of 'multiop' is missing"),
        ("lr", 1, r"lr: unknown key; known here: seed"),
        ("loss.eye", -1, r"loss\.eye: .*greater than or equal to 0"),
        ("data.image_size", 100, r"data\.image_size: "),
        ("data.side_yaw", [60, 15], r"data: .*low <= high"),
        ("flow.stride", 3, r"flow\.stride 3 must divide"),
        ("train.steps", "many", r"train\.steps: "),
        (
            "ablation.variants",
            ["half"],
            r"ablation\.variants: .*'half' is no variant; expected some of full",
        ),
        ("ablation.seeds", [1, 1], r"ablation\.seeds: .*expected each once"),
        ("ablation.loss.lip", -1, r"ablation\.loss\.lip: .*greater than or equal to 0"),
    ],
)
def test_a_wrong_parameter_is_named_in_one_line(tmp_path: Path, key: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_params(changed(tmp_path, key, value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("section", [("loss",), ("ablation", "loss")])
def test_an_estimator_without_gradient_is_refused_where_equation_6_needs_one(
    tmp_path: Path, section: tuple[str, ...]
) -> None:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["flow"]["estimator"] = "dis"
    loss = content
    for key in section:
        loss = loss[key]
    loss["multiop_form"] = "in_loop"
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=rf"dis has no gradient, so {'.'.join(section)}\.multiop_form"):
        load_params(path)


def test_an_estimator_without_gradient_is_fine_where_equation_6_is_off_or_needs_none(tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["flow"]["estimator"] = "dis"
    for own, ablation in (({"multiop": 0}, {"multiop_form": "measured"}), ({"multiop_form": "precomputed"},) * 2):
        changed_loss = {**content["loss"], **own}
        changed_ablation = {**content["ablation"], "loss": {**content["ablation"]["loss"], **ablation}}
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump({**content, "loss": changed_loss, "ablation": changed_ablation}))
        assert load_params(path).flow.estimator == "dis"


def test_missing_file_and_broken_yaml_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [1\nb: 2")
    with pytest.raises(UserError, match="not YAML") as caught:
        load_params(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)

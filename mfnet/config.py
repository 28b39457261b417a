"""The sections of params.yaml, typed: unknown keys and values out of range are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mfnet.errors import UserError

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]

VARIANTS = ("full", "no_multiop", "no_singlelmk", "no_eye", "no_lip", "no_reg")
# Between a variant and a further seed in the name of a training.
_AGAIN = "-"


class Section(BaseModel):
    """A part of params.yaml; immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HeadParams(Section):
    """Which head model, and how many of its directions are used."""

    path: Path
    landmarks: Path | None = None
    texture: Path | None = None
    masks: Path | None = None
    uv: Path | None = None
    n_shape: Annotated[int, Field(ge=1, le=300)] = 100
    n_expression: Annotated[int, Field(ge=1, le=100)] = 50
    n_albedo: Count = 40


class SynthesizeParams(Section):
    """How much generated data, and how hard it is."""

    multipie_subjects: Annotated[int, Field(ge=2, le=346)]
    recordings: Annotated[int, Field(ge=1, le=3)]
    illuminations: list[Annotated[int, Field(ge=0, le=19)]] = Field(min_length=1)
    wild_per_bin: Count
    lab_subjects: Count
    aflw2000_per_bin: Count = 10
    relief_mm: Weight
    deviation_mm: Weight = 1.0
    landmark_error: Weight = 1.0


class DataParams(Section):
    """Where the data sets lie and what is made of them."""

    multipie: Path
    facescape: Path
    aflw2000: Path = Path("data/raw/aflw2000")
    image_size: Annotated[int, Field(ge=128, le=512, multiple_of=8)]
    illuminations: list[Annotated[int, Field(ge=0, le=19)]] | None = None
    crop_scale: Annotated[float, Field(ge=1, le=3)] = 1.25
    min_face_pixels: Weight = 60
    min_sharpness: Weight = 2.0
    triplets: Count
    side_yaw: tuple[float, float] = (15.0, 90.0)
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.15

    @model_validator(mode="after")
    def _ordered(self) -> DataParams:
        if not 0 < self.side_yaw[0] <= self.side_yaw[1] <= 90:
            raise ValueError("side_yaw must be [low, high] with 0 < low <= high <= 90")
        return self


class LandmarksParams(Section):
    """Where landmarks come from."""

    detector: Literal["sidecar", "face_alignment"]


class EngineParams(Section):
    """How many processes share preprocessing, fits and scoring; null is one per core."""

    workers: Count | None = None


class FlowParams(Section):
    """Optical flow: the estimator, and how the precomputed flow is stored."""

    estimator: str = "packaged"
    updates: Annotated[int, Field(ge=1, le=32)] = 6
    stride: Annotated[int, Field(ge=1, le=16)] = 4
    batch: Count = 16


class NetworkParams(Section):
    """MFNet's encoder and heads."""

    encoder: Literal["compact", "resnet18", "resnet50"] = "compact"
    weights: Path | None = None
    features: Count = 256


class LossParams(Section):
    """The weights of equation 11, which pixels equation 6 trusts, and where its flow and gradient come from."""

    multiop: Weight
    singlelmk: Weight
    eye: Weight
    lip: Weight
    reg: Weight
    consistency: bool = False
    multiop_form: Literal["in_loop", "measured", "precomputed"] = "in_loop"


class TrainParams(Section):
    """The training loop."""

    variants: list[Literal["full", "no_multiop", "no_singlelmk", "no_eye", "no_lip", "no_reg"]] = Field(min_length=1)
    further_seeds: list[Annotated[int, Field(ge=0)]] = []
    steps: Count
    batch: Count
    learning_rate: Annotated[float, Field(gt=0, lt=1)]
    warmup: Fraction = 0.05
    multiop_after: Fraction = 0.6
    multiop_pairs: Count = 4
    texture_size: Annotated[int, Field(ge=32, le=1024)] = 128
    jitter: Fraction = 0.05
    log_every: Count = 10
    picture_every: Count = 200
    checkpoint_every: Count = 200
    validate_on: Count = 256
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"


class FitParams(Section):
    """The fits to landmarks and flow: how far either is off, in crops' [-1, 1], and how many iterations they take.

    Flow, which needs no gradient here, is measured by its own estimator, and anew in each of so many rounds; with no
    round refinement looks at landmarks alone.
    """

    noise: Annotated[float, Field(gt=0)] = 0.03
    flow_noise: Annotated[float, Field(gt=0)] = 0.01
    iterations: Count = 20
    rounds: Annotated[int, Field(ge=0)] = 2
    estimator: Literal["dis", "packaged", "classical"] = "dis"


class EvaluateParams(Section):
    """How much of the benchmark is scored."""

    submit: Literal["head", "face"] = "head"
    lab_views: list[Annotated[int, Field(ge=0, le=10)]] = Field(default=list(range(11)), min_length=1)
    batch: Count = 8
    heat_meshes: Count = 4


class Params(Section):
    """All of params.yaml."""

    seed: Annotated[int, Field(ge=0)]
    head: HeadParams
    synthesize: SynthesizeParams
    data: DataParams
    landmarks: LandmarksParams
    engine: EngineParams = EngineParams()
    flow: FlowParams = FlowParams()
    network: NetworkParams = NetworkParams()
    loss: LossParams
    train: TrainParams
    fit: FitParams = FitParams()
    evaluate: EvaluateParams = EvaluateParams()

    @model_validator(mode="after")
    def _flow_fits(self) -> Params:
        if self.data.image_size % self.flow.stride:
            raise ValueError(f"flow.stride {self.flow.stride} must divide data.image_size {self.data.image_size}")
        if self.flow.estimator == "dis" and self.loss.multiop_form == "in_loop":
            raise ValueError("flow.estimator dis has no gradient, so loss.multiop_form must be measured or precomputed")
        return self

    @model_validator(mode="after")
    def _seeds_differ(self) -> Params:
        seeds = [self.seed, *self.train.further_seeds]
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"train.further_seeds {seeds[1:]} must be other than seed {self.seed}, each once")
        return self

    def trainings(self, variant: str) -> list[str]:
        """Names of a variant's trainings: `full` with `seed`, and `full-1` with 1 of `train.further_seeds`."""
        return [variant, *(f"{variant}{_AGAIN}{seed}" for seed in self.train.further_seeds)]

    def of_training(self, name: str) -> tuple[str, Params]:
        """The variant that a training's name names, and the parameters with its seed and no further ones.

        Raises:
            UserError: it is neither a variant nor one and a seed.
        """
        variant, again, seed = name.partition(_AGAIN)
        if variant not in VARIANTS or (again and not (seed.isdecimal() and seed == str(int(seed)))):
            known = ", ".join(VARIANTS)
            raise UserError(f"train: '{name}' is not a training; expected {known}, or one and a seed such as full-1")
        alone = self.train.model_copy(update={"further_seeds": []})
        return variant, self.model_copy(update={"seed": int(seed) if again else self.seed, "train": alone})


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and check params.yaml.

    Raises:
        UserError: the file is missing or not YAML, a key is unknown or missing, a value is out of range; the
            message names the key.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; run from the repository's root, where params.yaml lies")
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    return parse_params(content, path)


def parse_params(content: Any, path: Path) -> Params:
    """Check what a file holds.

    Raises:
        UserError: naming the file and the first key that is wrong.
    """
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "(top level)"
        reason = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
        known = _known_keys(first["loc"]) if first["type"] == "extra_forbidden" else ""
        raise UserError(f"{path}: {key}: {reason}{known}") from error


def _known_keys(location: tuple[int | str, ...]) -> str:
    section: type[BaseModel] = Params
    for part in location[:-1]:
        annotation = section.model_fields[str(part)].annotation
        assert isinstance(annotation, type)
        section = annotation
    return "; known here: " + ", ".join(section.model_fields)

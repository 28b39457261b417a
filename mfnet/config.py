"""The sections of params.yaml, typed: unknown keys and values out of range are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mfnet.errors import UserError
from mfnet.loss_terms import TERMS, VARIANTS

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Focal = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of params.yaml; immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Checked = TypeVar("Checked", bound=Section)


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

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many directions of shape, expression and albedo are used."""
        return self.n_shape, self.n_expression, self.n_albedo


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
    focal: Focal | dict[str, Focal] | None = None
    side_yaw: tuple[float, float] = (15.0, 90.0)
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.15

    @model_validator(mode="after")
    def _ordered(self) -> DataParams:
        if not 0 < self.side_yaw[0] <= self.side_yaw[1] <= 90:
            raise ValueError("side_yaw must be [low, high] with 0 < low <= high <= 90")
        return self


class LandmarksParams(Section):
    """Where landmarks come from."""

    detector: Literal["sidecar", "face_alignment", "packaged"]


class EngineParams(Section):
    """How many processes share preprocessing, fits and scoring (null is one per core), and the devices of a training.

    So many devices on each of so many nodes train one network, each on its share of every batch.
    """

    workers: Count | None = None
    devices: Count = 1
    nodes: Count = 1
    strategy: Literal["ddp"] = "ddp"

    @property
    def processes(self) -> int:
        """How many processes train together."""
        return self.devices * self.nodes


class FlowParams(Section):
    """Optical flow: the estimator, and how the precomputed flow is stored."""

    estimator: str = "packaged"
    updates: Annotated[int, Field(ge=1, le=32)] = 6
    stride: Annotated[int, Field(ge=1, le=16)] = 4
    batch: Count = 16


class NetworkParams(Section):
    """MFNet's encoder and heads, and the camera that it sees through.

    The assumed focal length, of photographs whose own is not known, is in lengths of their longer side.
    """

    encoder: Literal["compact", "resnet18", "resnet50"] = "compact"
    weights: Path | Literal["packaged"] | None = None
    features: Count = 256
    camera: Literal["orthographic", "pinhole"] = "orthographic"
    assumed_focal: Focal | None = None


class LossParams(Section):
    """The weight of every term of equation 11, and of how equations 6 and 7 are read.

    Of equation 6 which pixels are trusted and where the flow comes from, of equation 7 how much each landmark counts.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Weight] = Field(init=False)

    consistency: bool = False
    multiop_form: Literal["in_loop", "measured", "precomputed"] = "in_loop"
    landmark_weights: Literal["even", "by_error"] = "even"

    @model_validator(mode="before")
    @classmethod
    def _every_term(cls, content: Any) -> Any:
        if isinstance(content, dict):
            known = {*TERMS, *cls.model_fields}
            unknown, missing = sorted(content.keys() - known), [name for name in TERMS if name not in content]
            if unknown:
                raise ValueError(f"'{unknown[0]}' is no term of the loss; known here: {', '.join(sorted(known))}")
            if missing:
                raise ValueError(f"the weight of '{missing[0]}' is missing; 0 leaves a term out")
        return content

    @property
    def weights(self) -> dict[str, float]:
        """Term -> weight, in the order of `mfnet.loss_terms.TERMS`."""
        return {name: self.__pydantic_extra__[name] for name in TERMS}

    def without(self, term: str | None) -> LossParams:
        """The same loss with one term's weight at zero; None changes nothing."""
        return self if term is None else LossParams.model_validate(self.model_dump() | {term: 0.0})


class TrainParams(Section):
    """The training loop."""

    steps: Count
    batch: Count
    learning_rate: Annotated[float, Field(gt=0, lt=1)]
    warmup: Fraction = 0.05
    multiop_after: Fraction = 0.6
    multiop_pairs: Count = 4
    texture_size: Annotated[int, Field(ge=32, le=1024)] = 128
    jitter: Fraction = 0.05
    fewer_views: Fraction = 0.0
    log_every: Count = 10
    picture_every: Count = 200
    checkpoint_every: Count = 200
    validate_on: Count = 256
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"


class AblationParams(Section):
    """Which losses Table 3 compares, how often each is trained, and with which weights."""

    variants: list[str] = Field(min_length=1)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[0], min_length=1)
    loss: LossParams

    @field_validator("variants")
    @classmethod
    def _known(cls, variants: list[str]) -> list[str]:
        unknown = [name for name in variants if name not in VARIANTS]
        if unknown:
            raise ValueError(f"'{unknown[0]}' is no variant; expected some of {', '.join(VARIANTS)}")
        return _each_once(variants)

    @field_validator("seeds")
    @classmethod
    def _differ(cls, seeds: list[int]) -> list[int]:
        return _each_once(seeds)


def _each_once(items: list[Any]) -> list[Any]:
    if len(set(items)) < len(items):
        raise ValueError(f"{items} names one twice; expected each once")
    return items


class FitParams(Section):
    """The fits to landmarks, points and flow: how far each is off, and how many iterations they take.

    Noise and flow_noise are in crops' [-1, 1], point_noise is in units of the spread that the packaged network says of
    each of its points; they err together where it takes a face for another, and so count for less. Null leaves them
    out.

    Flow, which needs no gradient here, is measured by its own estimator, and anew in each of so many rounds; with no
    round refinement looks at landmarks and points alone.
    """

    noise: Annotated[float, Field(gt=0)] = 0.03
    point_noise: Annotated[float, Field(gt=0)] | None = 5.0
    flow_noise: Annotated[float, Field(gt=0)] = 0.01
    iterations: Count = 20
    rounds: Annotated[int, Field(ge=0)] = 0
    estimator: Literal["dis", "packaged", "classical"] = "dis"
    updates: Annotated[int, Field(ge=1, le=32)] = 6


class EvaluateParams(Section):
    """How much of the benchmark is scored."""

    submit: Literal["head", "face"] = "head"
    lab_views: list[Annotated[int, Field(ge=0, le=10)]] = Field(default=list(range(11)), min_length=1)
    batch: Count = 8
    heat_meshes: Count = 4


class PromoteParams(Section):
    """When a newly trained model takes the champion's place, by the 95% interval of the paired difference of their CD.

    Better is an interval below zero, worse one above it.
    """

    better_in: Literal["one", "both", "wild", "lab"] = "one"
    worse_in: Literal["none", "any"] = "none"


class RetrainParams(Section):
    """Scheduled retraining.

    What a second one does while a first one runs, when a model is promoted, and who is told: a command, which is given
    the summary as its input, or a URL, to which it is posted.
    """

    overlap: Literal["wait", "refuse"] = "wait"
    promote_if: PromoteParams = PromoteParams()
    notify: Annotated[str, Field(min_length=1)] | None = None


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
    ablation: AblationParams
    fit: FitParams = FitParams()
    evaluate: EvaluateParams = EvaluateParams()
    retrain: RetrainParams = RetrainParams()

    @model_validator(mode="after")
    def _shares_are_equal(self) -> Params:
        processes = self.engine.processes
        for name in ("batch", "multiop_pairs"):
            if getattr(self.train, name) % processes:
                count = f"engine.devices x engine.nodes, {processes}"
                raise ValueError(f"train.{name} {getattr(self.train, name)} must be a multiple of {count}")
        return self

    @model_validator(mode="after")
    def _flow_fits(self) -> Params:
        if self.data.image_size % self.flow.stride:
            raise ValueError(f"flow.stride {self.flow.stride} must divide data.image_size {self.data.image_size}")
        for key, loss in (("loss", self.loss), ("ablation.loss", self.ablation.loss)):
            in_loop = loss.weights["multiop"] > 0 and loss.multiop_form == "in_loop"
            if in_loop and self.flow.estimator == "dis":
                form = f"{key}.multiop_form must be measured or precomputed"
                raise ValueError(f"flow.estimator dis has no gradient, so {form}, or {key}.multiop 0")
        return self


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
    return checked(Params, content, path)


def checked(section: type[Checked], content: Any, path: Path) -> Checked:
    """What a file holds as a section, or the one of a model.

    Raises:
        UserError: naming the file and the first key that is wrong.
    """
    try:
        return section.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "(top level)"
        reason = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
        known = _known_keys(section, first["loc"]) if first["type"] == "extra_forbidden" else ""
        raise UserError(f"{path}: {key}: {reason}{known}") from error


def _known_keys(section: type[BaseModel], location: tuple[int | str, ...]) -> str:
    for part in location[:-1]:
        annotation = section.model_fields[str(part)].annotation
        assert isinstance(annotation, type)
        section = annotation
    return "; known here: " + ", ".join(section.model_fields)

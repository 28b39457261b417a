"""Who the people are that a head made from `anny` knows, and what their faces do."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import torch

from mfnet.head.model import action_of_both_sides

_AT_ONCE = 250
# Years of age on anny's own scale, from the calibration that comes with the package.
_YEARS, _ANNY_AGE = (18.0, 64.0, 110.0), (0.77, 0.83, 1.0)
_AGES = (18.0, 80.0)
# How far into the other sex's half of the scale the deviation of one reaches.
_SEX_SPREAD = 0.12
# Concentration of the three ancestries' shares: most people are mostly of one, many are mixed.
_ANCESTRY = 0.5
# Standard deviations of anny's local changes; what resizes the head, the forehead or the neck does so far more.
_FEATURE, _FORM, _ASYMMETRY = 0.22, 0.12, 0.05
_LENGTH, _LENGTHS = 0.06, ("head-scale-depth-incr", "head-back-scale-depth-incr")
_FORM_PARTS = ("head", "forehead", "neck", "measure-neck")
_LOCAL = re.compile(r"(l-|r-)?(head|forehead|eyebrows|eye|nose|mouth|chin|cheek|ear|neck)-")
# What only tilts or shifts the head on its neck, one change of the forehead that no adult has, and what opens a mouth
# at rest or pushes its lips through each other.
_LEFT_OUT = ("head-angle-out", "head-trans-", "neck-trans-", "forehead-nubian-incr", "mouth-upperlip-middle-up",
             "mouth-lowerlip-middle-up")  # fmt: skip
# Where anny's adults are not people's size (ANSUR II): wide at the cheekbones and long at the back of the head. What
# lies beyond so many metres, sideways under the brows and backwards, is drawn in by a share.
_WIDE_FROM, _NARROWER, _BROWS, _BLEND = 0.050, 0.15, 0.035, 0.03
_BACK_FROM, _SHORTER = -0.035, 0.13
# An adult between all others.
_BETWEEN = {"gender": np.array([0.5]), "age": np.array([_ANNY_AGE[1]])}

# The action that the jaw's joint gives; what gives nothing but a turn of the eyes or moves the tongue alone.
JAW_OPEN, LIPS_SHUT = "jawOpen", "mouthClose"
_BY_JOINTS = re.compile(r"jawOpen|eyeLook|tongueOut")
# How strongly an action is usually played, as a standard deviation of its weight, and how alike both sides do.
_STRENGTH, _BOTH_SIDES = 0.25, 0.85
# What opens or shuts eyes and lips without the jaw is played less: beyond its ends, lids and lips would cross.
_STRENGTHS = {"eyeBlink": 0.20, "mouthClose": 0.10, "mouthRoll": 0.12, "mouthPress": 0.15, "mouthUpperUp": 0.20,
              "mouthLowerDown": 0.20}  # fmt: skip


class Population(NamedTuple):
    """N people: vertices [N, 4538, 3] of anny in metres, FLAME's axes, each where its body is, and what they are.

    traits: name -> [N]: female 0 or 1, age in years, african, asian and weight in [0, 1].
    """

    vertices: np.ndarray
    traits: dict[str, np.ndarray]


def draw_population(model: Any, count: int, rng: np.random.Generator) -> Population:
    """Adults of 18 to 80, every other one a woman, of all ancestries and mixtures.

    Args:
        model: `anny.Anny` with all phenotypes and the default local changes.
        count: people.
        rng: draws them.
    """
    female = np.arange(count) % 2
    inwards = np.abs(rng.normal(size=count)) * _SEX_SPREAD
    years = rng.uniform(*_AGES, count)
    shares = rng.dirichlet([_ANCESTRY] * 3, count)
    phenotype = {
        "gender": np.clip(np.where(female, 1 - inwards, inwards), 0, 1),
        "age": np.interp(years, _YEARS, _ANNY_AGE),
        "muscle": rng.beta(3, 3, count),
        "weight": rng.beta(3, 3, count),
        "height": rng.beta(12, 12, count),
        "proportions": rng.beta(4, 4, count),
        "african": shares[:, 0],
        "asian": shares[:, 1],
        "caucasian": shares[:, 2],
    }
    changes = _draw_local_changes(model.local_change_labels, count, rng)
    vertices = [
        _vertices(model, *({name: values[start : start + _AT_ONCE] for name, values in part.items()}
                           for part in (phenotype, changes)))
        for start in range(0, count, _AT_ONCE)
    ]  # fmt: skip
    traits = {"female": female.astype(float), "age": years} | {
        name: phenotype[name] for name in ("african", "asian", "weight")
    }
    return Population(np.concatenate(vertices), traits)


def symmetric_head(model: Any) -> np.ndarray:
    """An adult between all others, the same left and right, [4538, 3]."""
    return _vertices(model, _BETWEEN, {})[0]


def bone_heads(model: Any) -> dict[str, np.ndarray]:
    """Where each bone of the head of `symmetric_head` begins, [3]."""
    return dict(zip(model.bone_labels, _rest(model, _BETWEEN, {})["rest_bone_heads"][0], strict=True))


def bone_weights(model: Any, shares: dict[str, float], below: tuple[str, ...]) -> np.ndarray:
    """[4538] the share of a vertex that goes with the neck: all but what follows the bones below it.

    Args:
        model: `anny.Anny`.
        shares: of the bones that the neck bends over.
        below: how the names of those begin that stay where they are.
    """
    share = np.array([0.0 if name.startswith(below) else shares.get(name, 1.0) for name in model.bone_labels])
    return (share[np.asarray(model.vertex_bone_indices)] * np.asarray(model.vertex_bone_weights)).sum(1)


def displacements(model: Any) -> dict[str, np.ndarray]:
    """What each facial action that is not a joint's does at a weight of one, [4538, 3], and what JAW_OPEN does.

    LIPS_SHUT, which anny adds to an open jaw, is taken together with it; alone it would push the lips through each
    other.
    """
    still = _vertices(model, _BETWEEN, {})[0]
    moved = {
        name: _vertices(model, _BETWEEN, {}, {name: np.array([1.0])})[0] - still
        for name in model.facial_action_labels
        if name == JAW_OPEN or not _BY_JOINTS.match(name)
    }
    moved[LIPS_SHUT] = moved[LIPS_SHUT] + moved[JAW_OPEN]
    return moved


def action_covariance(names: list[str]) -> np.ndarray:
    """[K, K] of the weights with which people play these facial actions: both sides go together, the rest does not."""
    strength = np.array([
        next((value for start, value in _STRENGTHS.items() if name.startswith(start)), _STRENGTH) for name in names
    ])  # fmt: skip
    part = [action_of_both_sides(name) for name in names]
    paired = np.array([[a == b for b in part] for a in part])
    correlation = np.where(np.eye(len(names), dtype=bool), 1.0, _BOTH_SIDES * paired)
    return correlation * strength[:, None] * strength


def _draw_local_changes(labels: list[str], count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    changes: dict[str, np.ndarray] = {}
    for label in labels:
        if not _LOCAL.match(label) or label.startswith(("r-", *_LEFT_OUT)):
            continue
        deviation = _FORM if label.startswith(_FORM_PARTS) else _FEATURE
        value = (_LENGTH if label in _LENGTHS else deviation) * rng.normal(size=count)
        if label.startswith("l-"):
            apart = _ASYMMETRY * rng.normal(size=count)
            changes[label], changes["r-" + label[2:]] = np.clip(value + apart, -1, 1), np.clip(value - apart, -1, 1)
        else:
            changes[label] = np.clip(value, -1, 1)
    return changes


def _vertices(
    model: Any, phenotype: dict[str, np.ndarray], changes: dict[str, np.ndarray],
    actions: dict[str, np.ndarray] | None = None,
) -> np.ndarray:  # fmt: skip
    """Heads [B, 4538, 3] in FLAME's axes, each where its body is."""
    return _rest(model, phenotype, changes, actions)["rest_vertices"]


def _rest(
    model: Any, phenotype: dict[str, np.ndarray], changes: dict[str, np.ndarray],
    actions: dict[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """anny's answer in its resting pose, points in FLAME's axes: x to the person's left, y up, z forward."""

    def tensors(values: dict[str, np.ndarray] | None) -> dict[str, torch.Tensor] | None:
        return {name: torch.from_numpy(value) for name, value in values.items()} if values else None

    with torch.no_grad():
        answer = model(
            phenotype_kwargs=tensors(phenotype), local_changes_kwargs=tensors(changes), facial_actions=tensors(actions)
        )
    points = {name: answer[name].numpy() for name in ("rest_vertices", "rest_bone_heads")}
    return {name: np.stack([p[..., 0], p[..., 2], -p[..., 1]], -1) for name, p in points.items()}


def sized_as_people(vertices: np.ndarray) -> np.ndarray:
    """Heads [..., V, 3], eyes where FLAME's are, narrower at cheekbones, ears and jaw, and shorter at the back."""
    x, y, z = vertices[..., 0], vertices[..., 1], vertices[..., 2]
    under = np.clip((_BROWS + _BLEND - y) / _BLEND, 0, 1)
    aside = np.maximum(np.abs(x) - _WIDE_FROM, 0) * under * under * (3 - 2 * under)
    behind = np.maximum(_BACK_FROM - z, 0)
    return np.stack([x - np.sign(x) * _NARROWER * aside, y, z + _SHORTER * behind], -1)

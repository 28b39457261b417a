"""Photographs of people, drawn as training asks for them: everything that is true of them is known."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from mfnet.data.crop import CROP_MARGIN
from mfnet.head import Directions, Flame, HeadModel
from mfnet.head.paint import draw_look, draw_traits, paint
from mfnet.method.network import TYPICAL_SCALE, Decoded, Parameters, decode
from mfnet.pretraining.dressing import dressed, occluded
from mfnet.render import Renderer
from mfnet.render.camera import Lens
from mfnet.render.shading import shade
from mfnet.synthesis.person import draw_performance, draw_shape, skin_canvas
from mfnet.synthesis.photograph import draw_background, draw_camera, draw_light, expose
from mfnet.synthesis.pose import head_rotation

_SKIN_TEXELS = 256
# Shares of faces that look somewhere ahead and of those that may look anywhere to the side, degrees.
_AHEAD, _AHEAD_SPREAD, _SIDEWAYS = 0.4, 20.0, 92.0
_PITCH_SPREAD, _ROLL_SPREAD = 13.0, 12.0
# Some lie, bow or look up: the share of them, and how many times as far they tilt their heads.
_TILTED, _TILT = 0.15, 2.5
# From a selfie to a telephoto lens, metres; and how far beside the middle of the photograph, in halves of the crop.
_NEAREST, _FURTHEST, _BESIDE = 0.35, 4.0, 0.35
# How a box errs: place and logarithm of the side, in halves of the crop. Some come from a detector of faces alone.
_MISPLACED, _MISSIZED, _ROUGH, _ROUGHLY = 0.07, 0.08, 0.3, 2.5
_OCCLUDED, _GREY, _COARSE = 0.3, 0.1, 0.25
# Photographs of another tone curve, and of other colours than the camera's: how many, and how far.
_RETOUCHED, _GAMMA, _PALEST, _GAUDIEST = 0.4, 0.35, 0.3, 1.4


class KnownPhotographs(NamedTuple):
    """B people in N photographs each.

    images: [B, N, 3, S, S] in [0, 1].
    truth: shape, expression and jaw of each person with all directions of the head; rotation, camera and light of each
        photograph; albedo is empty, for skins are painted.
    lens: of the B * N photographs.
    vertices: [B * N, V, 3] in the crop's [-1, 1] with depth, as the lens has them.
    landmarks: [B * N, 68, 2] in [-1, 1].
    """

    images: Tensor
    truth: Parameters
    lens: Lens
    vertices: Tensor
    landmarks: Tensor


class People:
    """Draws people of a head model; what it draws is a function of the generator that it is given."""

    def __init__(self, head: HeadModel, image_size: int, crop_scale: float, n_skins: int, seed: int) -> None:
        """Paint skins to draw from.

        Args:
            head: the head model.
            image_size: of the crops, pixels a side.
            crop_scale: of their side; see `mfnet.data.crop.crop_around`.
            n_skins: how many skins are painted; a person gets one of them and a shape that goes with it.
            seed: of the skins.
        """
        self.head, self.image_size, self._crop_scale = head, image_size, crop_scale
        self.directions = Directions(head.shape_directions.shape[2], head.expression_directions.shape[2], 0)
        self._n_skins, self._seed = n_skins, seed
        self._flame = Flame(head, self.directions.n_shape, self.directions.n_expression)
        self._renderer = Renderer(head, image_size, 8, n_albedo=0)

    @cached_property
    def _skins(self) -> tuple[list[dict[str, float]], Tensor]:
        """Traits of every painted skin, and the skins [K, 3, T, T] in [0, 1] as half floats."""
        rng, canvas = np.random.default_rng([self._seed, 20]), skin_canvas(self.head)
        traits, skins = [], []
        for _ in range(self._n_skins):
            traits.append(draw_traits(rng))
            skin = cv2.resize(paint(canvas, draw_look(rng, traits[-1])), (_SKIN_TEXELS, _SKIN_TEXELS))
            skins.append(torch.from_numpy(skin.astype(np.float16)).permute(2, 0, 1))
        return traits, torch.stack(skins)

    @torch.no_grad()
    def draw(self, rng: np.random.Generator, people: int, views: int) -> KnownPhotographs:
        """Draw so many people in so many photographs each."""
        number = rng.integers(0, self._n_skins, people)
        truth, lens, decoded = self._framed(rng, self._bodies(rng, number, views))
        images = self._photographs(rng, number, truth, lens, decoded)
        return KnownPhotographs(images, truth, lens, decoded.projected, decoded.landmarks[..., :2])

    def _bodies(self, rng: np.random.Generator, number: np.ndarray, views: int) -> Parameters:
        """Shapes and what they do, turned somewhere, in the middle of crops of the typical scale."""
        people, traits = len(number), self._skins[0]
        shapes = np.stack([draw_shape(rng, self.head, traits[k]) for k in number])
        performances = [draw_performance(rng, self.head, "any") for _ in number]
        turns = np.stack([_axis_angle(self._turn(rng)) for _ in range(people * views)])
        lights = np.stack([draw_light(rng) for _ in range(people * views)])

        def tensor(values: np.ndarray | list[np.ndarray]) -> Tensor:
            return torch.tensor(np.asarray(values), dtype=torch.float32)

        jaws = tensor([performance.pose[6:9] for performance in performances])
        return Parameters(
            tensor(shapes), tensor([performance.expression for performance in performances]), jaws,
            tensor(turns).view(people, views, 3), torch.zeros(people, views, 3), torch.zeros(people, views, 0),
            tensor(lights).view(people, views, 9, 3),
        )  # fmt: skip

    @staticmethod
    def _turn(rng: np.random.Generator) -> np.ndarray:
        ahead = rng.uniform() < _AHEAD
        yaw = rng.normal() * _AHEAD_SPREAD if ahead else rng.uniform(-_SIDEWAYS, _SIDEWAYS)
        tilt = _TILT if rng.uniform() < _TILTED else 1.0
        return head_rotation(yaw, rng.normal() * tilt * _PITCH_SPREAD, rng.normal() * tilt * _ROLL_SPREAD)

    def _framed(self, rng: np.random.Generator, truth: Parameters) -> tuple[Parameters, Lens, Decoded]:
        """Cropped around the landmarks as a detector would, which errs; the lens goes with the crop."""
        n = truth.camera.shape[:2].numel()
        distance = np.exp(rng.uniform(np.log(_NEAREST), np.log(_FURTHEST), n))
        focal = torch.tensor(TYPICAL_SCALE * distance, dtype=torch.float32)
        principal = torch.tensor(_BESIDE * rng.normal(size=(n, 2)), dtype=torch.float32)
        lens = Lens(focal, principal)
        landmarks = decode(self._flame, truth, lens=lens).landmarks[..., :2]
        low, high = landmarks.amin(1), landmarks.amax(1)
        half = (high - low).mean(1) * CROP_MARGIN * self._crop_scale / 2
        rough = np.where(rng.uniform(size=(n, 1)) < _ROUGH, _ROUGHLY, 1.0)
        error = torch.tensor(rough * rng.normal(size=(n, 3)), dtype=torch.float32)
        half = half * (_MISSIZED * error[:, 0]).exp()
        middle = (low + high) / 2 + half[:, None] * _MISPLACED * error[:, 1:]
        # The same picture in the crop's coordinates: what was at p is at (p - middle) / half.
        camera = torch.cat([-half.log()[:, None], -middle / half[:, None]], 1).view_as(truth.camera)
        cropped, framed = Lens(focal / half, (principal - middle) / half[:, None]), truth._replace(camera=camera)
        return framed, cropped, decode(self._flame, framed, lens=cropped)

    def _photographs(
        self, rng: np.random.Generator, number: np.ndarray, truth: Parameters, lens: Lens, decoded: Decoded
    ) -> Tensor:
        toward = lens.toward(decoded.projected, decoded.camera[:, :1])
        view = self._renderer.view(decoded.vertices, decoded.projected, toward)
        people, views = truth.rotation.shape[:2]
        skins = self._skins[1][number].float().repeat_interleave(views, 0)
        albedo = self._renderer.render(skins, view).permute(0, 2, 3, 1)
        light = truth.light.flatten(0, 1)
        lit = shade(albedo, self._renderer.pixel_normals(view), light).clamp(0, 1).numpy()
        covered = (view.fragments.pix_to_face >= 0).numpy()
        landmarks = ((decoded.landmarks[..., :2] + 1) / 2 * self.image_size).numpy()
        outfits = [outfit for outfit in rng.integers(0, 2**32, people).tolist() for _ in range(views)]
        pictures = [self._developed(rng, *one) for one in zip(outfits, lit, covered, landmarks, strict=True)]
        images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
        return images.unflatten(0, (people, views))

    def _developed(
        self, rng: np.random.Generator, outfit: int, head: np.ndarray, covered: np.ndarray, landmarks: np.ndarray
    ) -> np.ndarray:
        """What a camera writes of a lit head, RGB uint8, with something behind it and perhaps something in front."""
        size = (self.image_size, self.image_size)
        picture = dressed(outfit, rng, head, covered, draw_background(rng, size), landmarks)
        if rng.uniform() < _OCCLUDED:
            picture = occluded(rng, picture)
        if rng.uniform() < _COARSE:
            small = int(self.image_size * rng.uniform(0.35, 0.8))
            picture = cv2.resize(cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA), size)
        if rng.uniform() < _RETOUCHED:
            picture = _retouched(rng, picture)
        if rng.uniform() < _GREY:
            picture = np.repeat(picture.mean(-1, keepdims=True), 3, -1)
        grain = rng.standard_normal(picture.shape, np.float32)
        return expose(cv2.GaussianBlur(picture, (3, 3), 0.6).astype(np.float32), draw_camera(rng), grain)


def _retouched(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Another tone curve and paler or gaudier colours, of a picture [S, S, 3] in [0, 1]."""
    toned = np.clip(picture, 0, 1) ** np.exp(_GAMMA * rng.normal())
    grey = toned.mean(-1, keepdims=True)
    return np.clip(grey + rng.uniform(_PALEST, _GAUDIEST) * (toned - grey), 0, 1).astype(np.float32)


def _axis_angle(rotation: np.ndarray) -> np.ndarray:
    return cv2.Rodrigues(rotation)[0][:, 0]

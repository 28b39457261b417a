"""Photographs to a head: the trained network as something to call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mfnet.config import FitParams
from mfnet.data.crop import crop_around, cut, read_image, written_focal
from mfnet.data.landmarks import LandmarkDetector
from mfnet.errors import UserError
from mfnet.fitting.landmark_fit import LandmarkFit
from mfnet.fitting.refinement import Refinement
from mfnet.flow import load_flow_estimator
from mfnet.head import Directions, Flame, HeadModel, anny_head
from mfnet.method.network import MFNet, Parameters, decode, in_front_of
from mfnet.method.start import DensePoints, load_start, resized
from mfnet.reconstruct.model_folder import load_model
from mfnet.reconstruct.packaged_detector import best_detector
from mfnet.reconstruct.reconstruction import Reconstruction, ViewCamera
from mfnet.render import Renderer
from mfnet.render.camera import Crop, Lens, centred_intrinsics
from mfnet.render.texture import complete_texture

# Pixels a side: of the texture, of the crops that the shape is drawn over, and of the wider ones that the texture is
# sampled from, for a crop around the landmarks cuts off hair and neck.
_TEXTURE_SIZE, _CLOSE_UP_SIZE, _SURROUNDINGS_SIZE = 512, 512, 832
_WIDER = _SURROUNDINGS_SIZE / _CLOSE_UP_SIZE
_ALL = 0.999
Photograph = np.ndarray | str | Path


class Prediction(NamedTuple):
    """Parameters of B people in N views, and the pinholes in front of which they hold; None in front of
    scaled orthography."""

    parameters: Parameters
    lens: Lens | None


# Pixels [B, N, 3, S, S] in [0, 1], landmarks [B, N, 68, 2] in [-1, 1], where known the pinholes of B x N views, and
# whether each view has an expression and a jaw of its own.
Predictor = Callable[[Tensor, Tensor, Lens | None, bool], Prediction]


class CropSetting(NamedTuple):
    """How photographs are cropped, and how many of a head's directions are told of them.

    directions: of the head; image_size: pixels a side of the square; crop_scale: its side, see `mfnet.data.crop`;
    assumed_focal: see `mfnet.config.NetworkParams`.
    """

    directions: Directions = Directions()
    image_size: int = 128
    crop_scale: float = 1.25
    assumed_focal: float | None = None


class Square(NamedTuple):
    """A photograph's crop: where it lies, its pixels [3, S, S] in [0, 1], its landmarks [68, 2] in [-1, 1], its pinhole
    where that is known."""

    crop: Crop
    pixels: Tensor
    landmarks: Tensor
    lens: Lens | None


class Reconstructor:
    """Photographs to heads, by a network (`packaged`, `load`) or a fit to the landmarks (`fitting`), either `refined`.

    `Reconstructor.packaged()([front, left, right])`.
    """

    def __init__(
        self, predictor: Predictor, head: HeadModel, setting: CropSetting, device: torch.device,
        in_perspective: bool = False,
    ) -> None:  # fmt: skip
        """Make one of a predictor; see `packaged`, `load`, `fitting` and `refined`.

        Args:
            predictor: photographs to parameters.
            head: whose parameters.
            setting: the crops that the predictor takes, and how many of the head's directions it gives.
            device: where it works.
            in_perspective: whether it makes use of known focal lengths.
        """
        self.head, self.setting, self.device, self.in_perspective = head, setting, device, in_perspective
        self._predictor = predictor
        self.flame = Flame(head, setting.directions.n_shape, setting.directions.n_expression).to(device)
        self._detector: LandmarkDetector | None = None

    @staticmethod
    def load(folder: str | Path, device: str | None = None) -> Reconstructor:
        """From a folder that the train stage wrote.

        Raises:
            UserError: the folder or a file in it is missing, or is not a model's, or of another version.
        """
        place = _device(device)
        config, network, head = load_model(Path(folder), place)
        setting = CropSetting(config.directions, config.image_size, config.crop_scale, config.assumed_focal)
        return Reconstructor._of_network(network, head, setting, place, in_perspective=config.camera == "pinhole")

    @staticmethod
    def open(model: str | Path, device: str | None = None) -> Reconstructor:
        """A folder that the train stage wrote, or "packaged"."""
        return Reconstructor.packaged(device) if str(model) == "packaged" else Reconstructor.load(model, device)

    @staticmethod
    def packaged(device: str | None = None) -> Reconstructor:
        """The network and the head that come with the package; no training is needed."""
        place = _device(device)
        start, config = load_start()
        setting = CropSetting(config.directions, config.image_size, config.crop_scale)
        return Reconstructor._of_network(start.mfnet.to(place), anny_head(), setting, place, in_perspective=True)

    @staticmethod
    def _of_network(
        network: MFNet, head: HeadModel, setting: CropSetting, device: torch.device, in_perspective: bool
    ) -> Reconstructor:
        def predictor(pixels: Tensor, landmarks: Tensor, lens: Lens | None, each: bool) -> Prediction:
            parameters = network(pixels)
            if each:
                # Of its own expression a photograph says all; of the shape they say more together.
                alone = network(pixels.flatten(0, 1)[:, None])
                views = pixels.shape[:2]
                own = {name: getattr(alone, name).unflatten(0, views) for name in ("expression", "jaw")}
                parameters = parameters._replace(**own)
            return Prediction(in_front_of(parameters, lens), lens)

        return Reconstructor(predictor, head, setting, device, in_perspective)

    @staticmethod
    def fitting(
        head: HeadModel, setting: CropSetting | None = None, fit: FitParams | None = None, workers: int | None = 1,
        device: str | None = None,
    ) -> Reconstructor:  # fmt: skip
        """Without a network: shape, expression, jaw and poses optimised against the photographs' landmarks.

        Args:
            head: the head model that is fitted.
            setting: crops, and how many of its directions; the default is that of params.yaml.
            fit: how; likewise.
            workers: processes, each for a person; None is one per core.
            device: cpu or cuda; None is cuda where there is one.
        """
        setting = setting or CropSetting()
        by_landmarks = LandmarkFit(head, setting.directions, fit or FitParams(), workers)
        return Reconstructor(
            lambda pixels, landmarks, lens, each: Prediction(by_landmarks(landmarks, lens, each), lens),
            head, setting, _device(device), in_perspective=True,
        )  # fmt: skip

    def refined(self, fit: FitParams | None = None, workers: int | None = 1) -> Reconstructor:
        """One that goes on from this one's parameters, by landmarks, points of the head and flow.

        Args:
            fit: how; the default is that of params.yaml.
            workers: processes, each for a person; None is one per core.
        """
        fit = fit or FitParams()
        estimator = load_flow_estimator(fit.estimator, fit.updates).to(self.device)
        refine = Refinement(
            self.head,
            self.setting.directions,
            fit,
            self.setting.image_size,
            estimator,
            workers,
            self._point_finder(fit),
        )

        def predictor(pixels: Tensor, landmarks: Tensor, lens: Lens | None, each: bool) -> Prediction:
            start = self._predictor(pixels, landmarks, lens, each).parameters
            return Prediction(refine(start, pixels, landmarks, lens), lens)

        return Reconstructor(predictor, self.head, self.setting, self.device, in_perspective=True)

    def _point_finder(self, fit: FitParams) -> Callable[[Tensor], DensePoints] | None:
        """The packaged network's points, of which only the packaged head's vertices are known."""
        if fit.point_noise is None:
            return None
        start, config = load_start()
        if self.head.fingerprint != config.head:
            return None
        start.to(self.device)

        @torch.no_grad()
        def find_points(pixels: Tensor) -> DensePoints:
            return start.points(resized(pixels, config.image_size))

        return find_points

    @torch.no_grad()
    def predict(self, people: Sequence[Sequence[Square]], each: bool = False) -> Prediction:
        """Parameters of several people, each in equally many views; in front of pinholes if all of theirs are known.

        Where `each`, every view has an expression and a jaw of its own.
        """
        pixels = torch.stack([torch.stack([square.pixels for square in person]) for person in people])
        landmarks = torch.stack([torch.stack([square.landmarks for square in person]) for person in people])
        lenses = [square.lens for person in people for square in person if square.lens is not None]
        together = Lens.joined(lenses).to(self.device) if lenses else None
        lens = together if len(lenses) == landmarks.shape[:2].numel() else None
        return self._predictor(pixels.to(self.device), landmarks.to(self.device), lens, each)

    def square(self, image: np.ndarray, landmarks: np.ndarray, intrinsics: np.ndarray | None = None) -> Square:
        """Crop an RGB uint8 image, of a pinhole [3, 3] where that is known, around its landmarks [68, 2]."""
        crop = crop_around(landmarks, self.setting.crop_scale)
        pixels = _pixels(cut(image, crop, self.setting.image_size))
        placed = crop.to_square(torch.tensor(landmarks, dtype=torch.float64)).float()
        return Square(crop, pixels, placed, None if intrinsics is None else crop.lens(intrinsics))

    def __call__(
        self,
        photographs: Sequence[Photograph],
        landmarks: Sequence[np.ndarray] | None = None,
        focal: float | None = None,
        expressions: Literal["shared", "each"] = "shared",
    ) -> Reconstruction:
        """Reconstruct one person.

        Args:
            photographs: RGB uint8 arrays [H, W, 3] or paths; one to any number of views.
            landmarks: [68, 2] pixels per photograph; found by a detector where not given.
            focal: length in pixels, of every photograph, looking through its middle; where it is not given, that which
                a camera has written into the photograph, or else the assumed one.
            expressions: "each" for photographs that are not of one instant: an expression and a jaw for every one.

        Raises:
            UserError: no photograph, an unreadable one, or one without a face.
        """
        if not photographs:
            raise UserError("reconstruct: no photograph given; expected one to any number of views")
        squares, surroundings = [], []
        for position, photograph in enumerate(photographs):
            image = photograph if isinstance(photograph, np.ndarray) else read_image(Path(photograph))
            if image is None:
                missing = not Path(str(photograph)).is_file()
                raise UserError(f"reconstruct: {photograph} {'is missing' if missing else 'is not a readable image'}")
            points = landmarks[position] if landmarks is not None else self._find(image)
            if points is None:
                raise UserError(f"reconstruct: no face found in photograph {position + 1} of {len(photographs)}")
            pinhole = self._pinhole(photograph, image, focal) if self.in_perspective else None
            squares.append(self.square(image, np.asarray(points), pinhole))
            surroundings.append(_surroundings(image, squares[-1].crop))
        return self._reconstruct(squares, torch.stack(surroundings).to(self.device), expressions == "each")

    def _pinhole(self, photograph: Photograph, image: np.ndarray, focal: float | None) -> np.ndarray | None:
        if focal is None and not isinstance(photograph, np.ndarray):
            focal = written_focal(Path(photograph))
        if focal is None and self.setting.assumed_focal is not None:
            focal = self.setting.assumed_focal * max(image.shape[:2])
        return None if focal is None else centred_intrinsics(image.shape[:2], focal)

    def _head(self, shape: Tensor, expression: Tensor, jaw: Tensor) -> np.ndarray:
        """Vertices [V, 3] of a head that is not turned."""
        still = torch.zeros_like(jaw)
        return self.flame(shape, expression, torch.cat([still, still, jaw, still, still], 1)).vertices[0].cpu().numpy()

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self.head, _SURROUNDINGS_SIZE, _TEXTURE_SIZE, n_albedo=0).to(self.device)

    def _find(self, image: np.ndarray) -> np.ndarray | None:
        if self._detector is None:
            self._detector = best_detector()
        return self._detector("", image)

    @torch.no_grad()
    def _reconstruct(self, squares: list[Square], surroundings: Tensor, each: bool) -> Reconstruction:
        parameters, lens = self.predict([squares], each)
        decoded = decode(self.flame, parameters, lens=lens)
        toward = None if lens is None else lens.toward(decoded.projected, decoded.camera[:, :1])
        view = self._renderer.view(decoded.vertices, decoded.projected / _WIDER, toward)
        sampled, weights = self._renderer.extract_inside(surroundings, view)
        textures, photographed = sampled.split([3, 1], 1)
        weights = weights * (photographed > _ALL)
        texture, confidence = complete_texture(textures[None], weights[None])
        beside = (_SURROUNDINGS_SIZE - _CLOSE_UP_SIZE) // 2
        close_ups, shapes = (
            picture[:, :3, beside:-beside, beside:-beside]
            for picture in (surroundings, self._renderer.depth_shading(view))
        )
        overlay = torch.where(shapes > 0, 0.35 * close_ups + 0.65 * shapes, close_ups)

        first = self._head(parameters.shape, *(_first(part) for part in (parameters.expression, parameters.jaw)))
        bare = (torch.zeros_like(_first(part)) for part in (parameters.expression, parameters.jaw))
        return Reconstruction(
            vertices=self._head(parameters.shape, *bare) if each else first,
            first_vertices=first if each else None,
            landmarks=[
                square.crop.to_photograph(points.double()).cpu().numpy()
                for square, points in zip(squares, decoded.landmarks[..., :2], strict=True)
            ],
            faces=self.head.faces,
            texture=_picture(texture[0]),
            confidence=(confidence[0, 0] * 255).byte().cpu().numpy(),
            parameters={name: getattr(parameters, name)[0].cpu().numpy() for name in ("shape", "expression", "jaw")},
            cameras=[
                ViewCamera(rotation.cpu().numpy(), camera.cpu().numpy(), square.crop, _focal(square, lens))
                for rotation, camera, square in zip(parameters.rotation[0], decoded.camera, squares, strict=True)
            ],
            crops=[_picture(picture) for picture in close_ups],
            overlays=[_picture(picture) for picture in overlay],
            uv_coordinates=self.head.uv_coordinates,
            uv_faces=self.head.uv_faces,
        )


def _surroundings(image: np.ndarray, crop: Crop) -> Tensor:
    """Around the crop, [4, S, S] in [0, 1]: the photograph, and where it is one."""
    wider, size = crop._replace(side=crop.side * _WIDER), _SURROUNDINGS_SIZE
    photographed = cut(np.full_like(image, 255), wider, size)
    return torch.cat([_pixels(cut(image, wider, size)), _pixels(photographed)[:1]])


def _first(part: Tensor) -> Tensor:
    """What the first view has of a part that views share, [1, K], or have each for itself, [1, N, K]."""
    return part if part.dim() == 2 else part[:, 0]


def _device(name: str | None) -> torch.device:
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def _focal(square: Square, lens: Lens | None) -> float | None:
    return None if lens is None or square.lens is None else square.lens.focal.item() * square.crop.side / 2


def _pixels(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255


def _picture(image: Tensor) -> np.ndarray:
    return np.ascontiguousarray((image.clamp(0, 1) * 255).byte().permute(1, 2, 0).cpu().numpy())

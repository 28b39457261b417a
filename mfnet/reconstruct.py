"""Photographs to a head: the trained network as something to call."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from mfnet.config import FitParams, Params, parse_params
from mfnet.data.crop import crop_around, cut, read_image
from mfnet.data.landmarks import FaceAlignment, LandmarkDetector
from mfnet.errors import UserError
from mfnet.flow import load_flow_estimator
from mfnet.head import Flame, HeadModel
from mfnet.landmark_fit import LandmarkFit
from mfnet.network import Parameters, decode, load_network
from mfnet.refinement import Refinement
from mfnet.render import Renderer
from mfnet.render.camera import Crop, Lens
from mfnet.render.texture import complete_texture

# Pixels a side: of the texture, and of the photographs' crops that it is sampled from and the shape is drawn over.
_TEXTURE_SIZE, _CLOSE_UP_SIZE = 512, 512
Photograph = np.ndarray | str | Path


class Prediction(NamedTuple):
    """Parameters of B people in N views, and the pinholes before which they hold; None before scaled orthography."""

    parameters: Parameters
    lens: Lens | None


# Pixels [B, N, 3, S, S] in [0, 1], landmarks [B, N, 68, 2] in [-1, 1], where known the pinholes of B x N views, and
# whether each view has an expression and a jaw of its own.
Predictor = Callable[[Tensor, Tensor, Lens | None, bool], Prediction]


class Square(NamedTuple):
    """A photograph's crop: where it lies, its pixels [3, S, S] in [0, 1], its landmarks [68, 2] in [-1, 1], its pinhole
    where that is known."""

    crop: Crop
    pixels: Tensor
    landmarks: Tensor
    lens: Lens | None


@dataclass(frozen=True)
class ViewCamera:
    """Where one photograph was taken from.

    rotation [3] axis-angle of the head and camera [3] (s, tx, ty), the scaled orthography of the crop; crop, the
    square of the photograph that is [-1, 1]; focal, the pinhole's in the photograph's pixels where the head was fitted
    before one: the landmarks' mean, where the two cameras agree, is then focal * 2 / (side * s) metres away.
    """

    rotation: np.ndarray
    camera: np.ndarray
    crop: Crop
    focal: float | None


@dataclass(frozen=True)
class Reconstruction:
    """A head without its rotation: vertices [V, 3] metres, faces [F, 3], texture [T, T, 3] RGB uint8.

    confidence [T, T] uint8: how well the best photograph showed each texel, 0 where none did and the texture is its
    mirrored half's or has diffused in from what was seen; parameters: name -> array of shape, expression, jaw;
    cameras: one per photograph; overlays: the photographs' crops with the shape drawn over them, RGB uint8; landmarks:
    [68, 2] in each photograph's pixels, where the answer has them; first_vertices [V, 3]: where each photograph has an
    expression of its own, the first one's head, and vertices are without any; else None.
    """

    vertices: np.ndarray
    faces: np.ndarray
    texture: np.ndarray
    confidence: np.ndarray
    parameters: dict[str, np.ndarray]
    cameras: list[ViewCamera]
    overlays: list[np.ndarray]
    uv_coordinates: np.ndarray
    uv_faces: np.ndarray
    landmarks: list[np.ndarray]
    first_vertices: np.ndarray | None = None

    def save(self, folder: str | Path) -> None:
        """Write mesh.obj, its .mtl and texture.png, confidence.png, mesh.glb, overlay.png and parameters.json.

        Where each photograph has an expression of its own mesh.* is without any, and mesh_first.glb the first one's.
        """
        import trimesh  # noqa: PLC0415  only needed for writing
        from PIL import Image  # noqa: PLC0415

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        corner = np.zeros(len(self.uv_coordinates), np.int64)
        corner[self.uv_faces.ravel()] = self.faces.ravel()
        material = trimesh.visual.texture.SimpleMaterial(image=Image.fromarray(self.texture), diffuse=[255] * 4)
        visual = trimesh.visual.TextureVisuals(uv=self.uv_coordinates, material=material)
        mesh = trimesh.Trimesh(self.vertices[corner], self.uv_faces, visual=visual, process=False)
        text, extra = trimesh.exchange.obj.export_obj(mesh, mtl_name="mesh.mtl", return_texture=True)
        (folder / "mesh.obj").write_text(text)
        for name, data in extra.items():
            content = data.replace(b"material_0.png", b"texture.png") if name.endswith(".mtl") else None
            if content is not None:
                (folder / name).write_bytes(content)
        Image.fromarray(self.texture).save(folder / "texture.png")
        Image.fromarray(self.confidence).save(folder / "confidence.png")
        mesh.export(folder / "mesh.glb")
        if self.first_vertices is not None:
            first = trimesh.Trimesh(self.first_vertices[corner], self.uv_faces, visual=visual, process=False)
            first.export(folder / "mesh_first.glb")
        Image.fromarray(np.concatenate(self.overlays, 1)).save(folder / "overlay.png")
        content_json: dict[str, Any] = {name: value.tolist() for name, value in self.parameters.items()}
        content_json["cameras"] = [
            {"rotation": c.rotation.tolist(), "camera": c.camera.tolist(), "crop": list(c.crop), "focal": c.focal}
            for c in self.cameras
        ]
        (folder / "parameters.json").write_text(json.dumps(content_json, indent=1) + "\n")


class Reconstructor:
    """Photographs to heads, by a trained network (`load`) or by a fit to the landmarks (`fitting`), either `refined`.

    `Reconstructor.load("models/full")([front, left, right])`.
    """

    def __init__(
        self, predictor: Predictor, head: HeadModel, params: Params, device: torch.device, in_perspective: bool = False
    ) -> None:
        self.head, self.params, self.device = head, params, device
        # Whether known focal lengths are made use of.
        self.in_perspective = in_perspective
        self._predictor = predictor
        self.flame = Flame(head, params.head.n_shape, params.head.n_expression).to(device)
        self._detector: LandmarkDetector | None = None

    @staticmethod
    def load(folder: str | Path, device: str | None = None) -> Reconstructor:
        """From a folder that the train stage wrote.

        Raises:
            UserError: the folder or a file in it is missing, or its settings are those of another version.
        """
        folder = Path(folder)
        for name in ("config.json", "model.safetensors", "head.npz"):
            if not (folder / name).is_file():
                raise UserError(f"model: {folder / name} is missing; expected a folder that the train stage wrote")
        config = json.loads((folder / "config.json").read_text())
        fingerprint = config.pop("head_fingerprint", None)
        # What is done with a model is its user's to say; an older version may have said it in other words.
        config = {name: value for name, value in config.items() if name not in ("variant", "engine", "fit", "evaluate")}
        params = parse_params(config, folder / "config.json")
        place = _device(device)
        network = load_network(folder, params, place)
        head = HeadModel.load(folder / "head.npz")
        if fingerprint not in (None, head.fingerprint):
            raise UserError(f"model: {folder / 'head.npz'} is head {head.fingerprint}; the network is of {fingerprint}")

        def predictor(pixels: Tensor, landmarks: Tensor, lens: Lens | None, each: bool) -> Prediction:
            parameters = network(pixels)
            if each:
                # Of its own expression a photograph says all; of the shape they say more together.
                alone = network(pixels.flatten(0, 1)[:, None])
                views = pixels.shape[:2]
                own = {name: getattr(alone, name).unflatten(0, views) for name in ("expression", "jaw")}
                parameters = parameters._replace(**own)
            return Prediction(parameters, None)

        return Reconstructor(predictor, head, params, place)

    @staticmethod
    def fitting(head: HeadModel, params: Params, device: str | None = None) -> Reconstructor:
        """Without a network: shape, expression, jaw and poses optimised against the photographs' landmarks."""
        fit = LandmarkFit(head, params.head, params.fit, params.engine.workers)
        return Reconstructor(
            lambda pixels, landmarks, lens, each: Prediction(fit(landmarks, lens, each), lens),
            head, params, _device(device), in_perspective=True,
        )  # fmt: skip

    def refined(self, fit: FitParams, workers: int | None = None) -> Reconstructor:
        """One that goes on from this one's parameters, by landmarks and the flow between a person's photographs.

        Args:
            fit: how.
            workers: processes, each for a person; None is one per core.
        """
        estimator = load_flow_estimator(fit.estimator, self.params.flow.updates).to(self.device)
        refine = Refinement(self.head, self.params.head, fit, self.params.data.image_size, estimator, workers)

        def predictor(pixels: Tensor, landmarks: Tensor, lens: Lens | None, each: bool) -> Prediction:
            start = self._predictor(pixels, landmarks, lens, each).parameters
            return Prediction(refine(start, pixels, landmarks, lens), lens)

        return Reconstructor(predictor, self.head, self.params, self.device, in_perspective=True)

    @torch.no_grad()
    def predict(self, people: Sequence[Sequence[Square]], each: bool = False) -> Prediction:
        """Parameters of several people, each in equally many views; before pinholes if all of theirs are known.

        Where `each`, every view has an expression and a jaw of its own.
        """
        pixels = torch.stack([torch.stack([square.pixels for square in person]) for person in people])
        landmarks = torch.stack([torch.stack([square.landmarks for square in person]) for person in people])
        lenses = [square.lens for person in people for square in person if square.lens is not None]
        together = Lens(*(torch.cat(part).to(self.device) for part in zip(*lenses, strict=True))) if lenses else None
        lens = together if len(lenses) == landmarks.shape[:2].numel() else None
        return self._predictor(pixels.to(self.device), landmarks.to(self.device), lens, each)

    def square(self, image: np.ndarray, landmarks: np.ndarray, intrinsics: np.ndarray | None = None) -> Square:
        """Crop an RGB uint8 image, of a pinhole [3, 3] where that is known, around its landmarks [68, 2]."""
        crop = crop_around(landmarks, self.params.data.crop_scale)
        pixels = _pixels(cut(image, crop, self.params.data.image_size))
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
            landmarks: [68, 2] pixels per photograph; found by face-alignment where not given.
            focal: length in pixels, of every photograph, looking through its middle; used by fits and refinement.
            expressions: "each" for photographs that are not of one instant: an expression and a jaw for every one.

        Raises:
            UserError: no photograph, an unreadable one, or one without a face.
        """
        if not photographs:
            raise UserError("reconstruct: no photograph given; expected one to any number of views")
        squares, close_ups = [], []
        for position, photograph in enumerate(photographs):
            image = photograph if isinstance(photograph, np.ndarray) else read_image(Path(photograph))
            if image is None:
                missing = not Path(str(photograph)).is_file()
                raise UserError(f"reconstruct: {photograph} {'is missing' if missing else 'is not a readable image'}")
            points = landmarks[position] if landmarks is not None else self._find(image)
            if points is None:
                raise UserError(f"reconstruct: no face found in photograph {position + 1} of {len(photographs)}")
            squares.append(self.square(image, np.asarray(points), _pinhole(image, focal)))
            close_ups.append(_pixels(cut(image, squares[-1].crop, _CLOSE_UP_SIZE)))
        return self._reconstruct(squares, torch.stack(close_ups).to(self.device), expressions == "each")

    def _head(self, shape: Tensor, expression: Tensor, jaw: Tensor) -> np.ndarray:
        """Vertices [V, 3] of a head that is not turned."""
        still = torch.zeros_like(jaw)
        return self.flame(shape, expression, torch.cat([still, still, jaw, still, still], 1)).vertices[0].cpu().numpy()

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self.head, _CLOSE_UP_SIZE, _TEXTURE_SIZE, n_albedo=0).to(self.device)

    def _find(self, image: np.ndarray) -> np.ndarray | None:
        if self._detector is None:
            self._detector = FaceAlignment()
        return self._detector("", image)

    @torch.no_grad()
    def _reconstruct(self, squares: list[Square], close_ups: Tensor, each: bool) -> Reconstruction:
        parameters, lens = self.predict([squares], each)
        decoded = decode(self.flame, parameters, lens=lens)
        toward = None if lens is None else lens.toward(decoded.projected, decoded.camera[:, :1])
        view = self._renderer.view(decoded.vertices, decoded.projected, toward)
        textures, weights = self._renderer.extract_inside(close_ups, view)
        texture, confidence = complete_texture(textures[None], weights[None])
        shapes = self._renderer.depth_shading(view)
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
            overlays=[_picture(picture) for picture in overlay],
            uv_coordinates=self.head.uv_coordinates,
            uv_faces=self.head.uv_faces,
        )


def _first(part: Tensor) -> Tensor:
    """What the first view has of a part that views share, [1, K], or have each for itself, [1, N, K]."""
    return part if part.dim() == 2 else part[:, 0]


def _device(name: str | None) -> torch.device:
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def _pinhole(image: np.ndarray, focal: float | None) -> np.ndarray | None:
    height, width = image.shape[:2]
    return None if focal is None else np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])


def _focal(square: Square, lens: Lens | None) -> float | None:
    return None if lens is None or square.lens is None else square.lens.focal.item() * square.crop.side / 2


def _pixels(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255


def _picture(image: Tensor) -> np.ndarray:
    return np.ascontiguousarray((image.clamp(0, 1) * 255).byte().permute(1, 2, 0).cpu().numpy())


def contact_sheet(pictures: Sequence[np.ndarray], columns: int, side: int) -> np.ndarray:
    """Pictures of any size as a grid of squares, RGB uint8."""
    squares = [cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA) for picture in pictures]
    blank = np.full((side, side, 3), 255, np.uint8)
    squares += [blank] * (-len(squares) % columns)
    rows = [np.concatenate(squares[k : k + columns], 1) for k in range(0, len(squares), columns)]
    return np.concatenate(rows)

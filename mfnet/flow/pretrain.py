"""Train RAFT-small from nothing on motion whose answer is known: `python -m mfnet.flow.pretrain`.

Random textures under smooth motion teach the features to match; they give way to the faces over the training.
Generated faces move, turn, change expression and light between two frames; the renderer knows where each visible
point went. More than half of the pairs are masked to the face, as equation 6 masks them, and in a third the second
frame is painted with the texture sampled from a third view, as equation 4 does; some pairs are identical.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import interpolate as resize
from torchvision.models.optical_flow import raft_small

from mfnet.flow.estimator import PACKAGED_WEIGHTS, warp
from mfnet.head import Flame, HeadModel, procedural_head
from mfnet.render import Renderer, View, interpolate
from mfnet.render.camera import orthographic_project
from mfnet.render.rasterize import pixel_centres
from mfnet.render.texture import fill_unseen

_DECAY = 0.8
_IDENTICAL = 0.15
# Share of texture pairs in the first batch; it falls to none in the last.
_TEXTURE_SHARE = 0.8
_OCCLUSION_TOLERANCE = 0.02


class MotionPairs:
    """Endless batches of face pairs with exact flow."""

    def __init__(self, head: HeadModel, image_size: int, seed: int) -> None:
        self.flame = Flame(head)
        self.renderer = Renderer(head, image_size, 160, len(head.albedo_basis))
        self.image_size = image_size
        self.generator = torch.Generator().manual_seed(seed)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def _uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self.generator)

    def _view(self, shape: Tensor, expression: Tensor, pose: Tensor, camera: Tensor) -> View:
        """The head, its landmarks centred in the image as a crop centres them."""
        out = self.flame(shape, expression, pose)
        vertices = out.vertices - out.landmarks.mean(1, keepdim=True)
        return self.renderer.view(vertices, orthographic_project(vertices, camera))

    def _light(self, batch: int) -> Tensor:
        light = self._normal(batch, 9, 1) * 0.12 + self._normal(batch, 9, 3) * 0.03
        light[:, 0] += self._uniform(1.4, 2.7, batch, 1)
        light[:, 1:4] += 0.45 * self._normal(batch, 3, 1)
        light[:, 3] += 0.5
        return light

    def _skin(self, batch: int) -> Tensor:
        albedo = self.renderer.albedo(self._normal(batch, self.renderer.albedo_basis.shape[0]))
        grain = sum(
            resize(self._normal(batch, 1, size, size), albedo.shape[-2:], mode="bicubic") * 0.07
            for size in (20, 60, 160)
        )
        return (albedo * (1 + grain)).clamp(0.01, 1)

    def _background(self, batch: int) -> Tensor:
        cells = int(torch.randint(2, 12, (1,), generator=self.generator))
        size = (self.image_size, self.image_size)
        return (0.45 + 0.2 * resize(self._normal(batch, 3, cells, cells), size, mode="bilinear")).clamp(0, 1)

    def _picture(self, skin: Tensor, view: View, light: Tensor, background: Tensor) -> Tensor:
        lit = self.renderer.render(self.renderer.shaded_texture(view.normals, skin, light), view).clamp(0, 1)
        return torch.where((view.fragments.pix_to_face >= 0)[:, None], lit, background)

    @torch.no_grad()
    def batch(self, size: int, textures: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A batch of face pairs, the first few replaced by warped random textures.

        Returns:
            first, second [B, 3, H, W] in [0, 1]; flow [B, 2, H, W] in pixels; weight [B, 1, H, W] where it is known.
        """
        faces = self._face_pairs(size - textures)
        if not textures:
            return faces
        both = zip(self._texture_pairs(textures), faces, strict=True)
        first, second, flow, weight = (torch.cat(parts) for parts in both)
        return first, second, flow, weight

    def _texture_pairs(self, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Random textures under smooth motion: easy to match, so that the features learn to."""
        side = (self.image_size, self.image_size)
        second = torch.full((size, 3, *side), 0.5)
        for cells in (6, 16, 40, 96):
            second = second + 0.13 * resize(self._normal(size, 3, cells, cells), side, mode="bicubic")
        second = second.clamp(0, 1)
        strength = self._uniform(0.2, 3.0, size, 1, 1, 1)
        flow = strength * resize(self._normal(size, 2, 4, 4), side, mode="bicubic")
        flow = flow + strength * self._normal(size, 2, 1, 1)
        return warp(second, flow), second, flow, torch.ones(size, 1, *side)

    def _face_pairs(self, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        shape, expression = self._normal(size, 100), self._normal(size, 50) * 0.7
        pose = torch.zeros(size, 15)
        pose[:, 0], pose[:, 2] = 0.15 * self._normal(size), 0.12 * self._normal(size)
        pose[:, 1] = self._uniform(-1.3, 1.3, size)
        pose[:, 6] = 0.12 * self._normal(size).abs()
        camera = torch.stack(
            [self._uniform(8.0, 12.0, size), 0.006 * self._normal(size), 0.006 * self._normal(size)], 1
        )
        strength = self._uniform(0, 1, size, 1) ** 1.5 * (self._uniform(0, 1, size, 1) > _IDENTICAL)
        moved_pose = pose.clone()
        moved_pose[:, :3] += strength * 0.10 * self._normal(size, 3)
        moved_pose[:, 6:7] += strength * 0.08 * self._normal(size, 1)
        moved_camera = camera * (1 + strength * 0.03 * self._normal(size, 1))
        moved_camera[:, 1:] += strength * 0.003 * self._normal(size, 2)
        first_view = self._view(shape, expression, pose, camera)
        second_view = self._view(
            shape + strength * 0.7 * self._normal(size, 100), expression + strength * 0.5 * self._normal(size, 50),
            moved_pose, moved_camera,
        )  # fmt: skip
        flow, known = self._exact_flow(first_view, second_view)

        skin, light, background = self._skin(size), self._light(size), self._background(size)
        first = self._picture(skin, first_view, light, background)
        relit = self._uniform(0, 1, size, 1, 1) < 0.35
        same = (strength == 0)[..., None]
        second_light = torch.where(relit & ~same, self._light(size), light)
        second = self._picture(skin, second_view, second_light, background)
        second = self._retextured(skin, second, second_view, shape, expression, pose, camera, same)

        masked = self._uniform(0, 1, size, 1, 1, 1) < 0.6
        mask = self.renderer.face_mask(first_view)
        shade = torch.where(masked, mask, torch.ones_like(mask))
        weight = known * torch.where(masked, mask, torch.ones_like(mask))
        weight = torch.where(same[..., None], torch.ones_like(weight), weight)
        return first * shade, second * shade, flow, weight

    def _retextured(  # type: ignore[no-untyped-def]
        self, skin, second, second_view, shape, expression, pose, camera, same
    ) -> Tensor:
        """Half of the second frames painted with a texture sampled from a third view under a third light."""
        size = len(second)
        third_pose = pose.clone()
        third_pose[:, 1] += self._uniform(-0.9, 0.9, size)
        third_view = self._view(shape, expression, third_pose, camera)
        third = self._picture(skin, third_view, self._light(size), self._background(size))
        texture, weight = self.renderer.extract(third, third_view)
        texture = fill_unseen(texture, weight, self.renderer.albedo_mean)
        painted = self.renderer.render(texture, second_view)
        chosen = (self._uniform(0, 1, size, 1, 1) < 0.35) & ~same
        return torch.where(chosen[..., None], painted, second)

    def _exact_flow(self, first: View, second: View) -> tuple[Tensor, Tensor]:
        """Where each visible point of the first view is in the second, and whether it is seen there."""
        corners = second.projected[:, self.renderer.faces.flatten()].unflatten(1, (-1, 3))
        target = interpolate(first.fragments, corners)
        half = self.image_size / 2
        seen = (first.fragments.pix_to_face >= 0)[..., None]
        flow = (target[..., :2] - pixel_centres(self.renderer.image_size, target)) * half * seen
        far = second.fragments.zbuf.amax() + 1
        depth = torch.where(second.fragments.pix_to_face >= 0, second.fragments.zbuf, far)[:, None]
        nearest = torch.nn.functional.grid_sample(depth, target[..., :2], mode="nearest", align_corners=False)
        known = seen[..., 0] & (target[..., 2] < nearest[:, 0] + _OCCLUSION_TOLERANCE)
        return flow.permute(0, 3, 1, 2), known[:, None].float()


def end_point_error(predicted: Tensor, flow: Tensor, weight: Tensor) -> Tensor:
    """Mean length of the error in pixels where the weight is set; scalar."""
    return ((predicted - flow).norm(dim=1, keepdim=True) * weight).sum() / weight.sum().clamp(min=1)


@torch.no_grad()
def measure(
    model: torch.nn.Module, head: HeadModel, image_size: int, updates: int, pairs: int = 64
) -> dict[str, float]:
    """Errors in pixels on held-out pairs: where covisible, on identical images, and of predicting no motion."""
    data = MotionPairs(head, image_size, seed=10**6)
    totals = {"end_point_error": 0.0, "no_motion": 0.0, "identical": 0.0}
    for _ in range(pairs // 8):
        first, second, flow, weight = data.batch(8)
        predicted = model(first * 2 - 1, second * 2 - 1, num_flow_updates=updates)[-1]
        still = model(first * 2 - 1, first * 2 - 1, num_flow_updates=updates)[-1]
        zero = torch.zeros_like(flow)
        totals["end_point_error"] += end_point_error(predicted, flow, weight).item()
        totals["no_motion"] += end_point_error(zero, flow, weight).item()
        totals["identical"] += end_point_error(still, zero, weight).item()
    return {name: total / (pairs // 8) for name, total in totals.items()}


def pretrain(
    steps: int, batch: int, image_size: int, updates: int, learning_rate: float, seed: int, work: Path
) -> None:
    """Train, resuming from `work/checkpoint.pt`, and write weights and training card beside the package's code."""
    torch.manual_seed(seed)
    head = procedural_head(0)
    model = raft_small()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=1e-5)
    start, curve, spent = 0, [], 0.0
    work.mkdir(parents=True, exist_ok=True)
    checkpoint = work / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        start, curve, spent = saved["step"], saved["curve"], saved["seconds"]
    began = time.time() - spent
    data = MotionPairs(head, image_size, seed * 10**5 + start)
    for step in range(start, steps):
        first, second, flow, weight = data.batch(batch, textures=round(_TEXTURE_SHARE * batch * (1 - step / steps)))
        predictions = model(first * 2 - 1, second * 2 - 1, num_flow_updates=updates)
        errors = [((p - flow).abs() * weight).sum() / weight.sum().clamp(min=1) for p in predictions]
        loss = sum(_DECAY ** (len(errors) - 1 - index) * error for index, error in enumerate(errors))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1, (step + 1) / 200, 1.02 * (1 - step / steps) ** 0.9)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 50 == 0 or step + 1 == steps:
            error = end_point_error(predictions[-1].detach(), flow, weight).item()
            curve.append([step + 1, error])
            print(f"step {step + 1}/{steps}  error {error:.3f} px  {time.time() - began:.0f} s", flush=True)
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            state |= {"curve": curve, "seconds": time.time() - began}
            torch.save(state, checkpoint)
    package(model, {"steps": steps, "batch": batch, "image_size": image_size, "updates": updates, "seed": seed,
                    "learning_rate": learning_rate, "seconds": round(time.time() - began), "curve": curve})  # fmt: skip


def package(model: torch.nn.Module, card: dict) -> None:
    """Write the weights in half precision and the training card with the errors of those very weights."""
    model = model.half().float().eval()
    card["held_out_px"] = measure(model, procedural_head(1), card["image_size"], card["updates"])
    PACKAGED_WEIGHTS.parent.mkdir(exist_ok=True)
    save_file({name: value.half().contiguous() for name, value in model.state_dict().items()}, PACKAGED_WEIGHTS)
    PACKAGED_WEIGHTS.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps(card["held_out_px"]))


def main() -> None:
    """Command line of the pretraining."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--updates", type=int, default=6)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("data/flow_pretraining"))
    arguments = parser.parse_args()
    pretrain(**vars(arguments))


if __name__ == "__main__":
    main()

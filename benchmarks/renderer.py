"""Time and memory of decoder, rasterizer, shading and texture at several sizes, as ratios to a named peer.

`python benchmarks/renderer.py` prints two Markdown tables: every case, and how time and memory grow when one size
does. Peers are PyTorch3D's rasterizer and smplx's linear blend skinning where these packages are installed (neither is
a dependency), else the plain tensor programs below: every pixel, or texel, against every triangle, and one 4 x 4 matrix
per joint and person. Each case runs in a process of its own; ours and the peer's calls alternate, two to sixteen times,
and the median of all but the first counts. Memory is the peak of a first call above what the process held before it
(Linux only).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mfnet.head import Flame, anny_head
from mfnet.render import Renderer, rasterize
from mfnet.render.camera import orthographic_project
from mfnet.render.shading import shade

_AT_LEAST_SECONDS, _FEWEST_ROUNDS, _MOST_ROUNDS = 2.0, 2, 16
_KIB_PER_MIB = 1024
_PLAIN_CHUNK = 2**22


HEAD_TRIANGLES = len(anny_head().faces)


class Case(NamedTuple):
    """A piece at one size."""

    piece: str
    batch: int
    triangles: int
    pixels: int


CASES = [
    *(Case("decoder", batch, HEAD_TRIANGLES, 0) for batch in (1, 16, 64)),
    *(Case("rasterizer", batch, 22000, 224) for batch in (1, 4)),
    *(Case("rasterizer", 1, triangles, 224) for triangles in (5500, 88000)),
    *(Case("rasterizer", 1, 22000, pixels) for pixels in (112, 448)),
    *(Case("rasterizer + backward", 1, 22000, pixels) for pixels in (224, 448)),
    *(Case("shading", batch, 0, pixels) for batch, pixels in ((1, 224), (4, 224), (1, 448))),
    *(Case("texture", batch, HEAD_TRIANGLES, pixels) for batch, pixels in ((1, 112), (4, 112), (1, 224))),
]


def sphere(triangles: int) -> tuple[Tensor, Tensor]:
    """A sphere that fills the image, with about so many triangles: vertices [1, V, 3] and faces [F, 3]."""
    rows = max(4, round((triangles / 4) ** 0.5))
    columns = 2 * rows
    level = torch.linspace(-1.55, 1.55, rows + 1)[:, None].expand(rows + 1, columns)
    around = (torch.arange(columns) * (2 * np.pi / columns)).expand(rows + 1, columns)
    points = torch.stack([level.cos() * around.sin(), level.sin(), level.cos() * around.cos()], -1) * 0.9
    index = torch.arange((rows + 1) * columns).view(rows + 1, columns)
    a, b = index[:-1], index[1:]
    c, d = a.roll(-1, 1), b.roll(-1, 1)
    faces = torch.cat([torch.stack([a, b, c], -1), torch.stack([c, b, d], -1)]).view(-1, 3)
    return points.reshape(1, -1, 3), faces


def plain_rasterize(vertices: Tensor, faces: Tensor, size: int) -> Tensor:
    """Every pixel against every triangle; [B, H, W] nearest triangle or -1."""
    centre = (2 * torch.arange(size) + 1) / size - 1
    points = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), -1).view(-1, 2)
    found = []
    for corners in vertices[:, faces]:
        a, b, c = corners.unbind(1)
        area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
        nearest = []
        for part in points.split(max(1, _PLAIN_CHUNK // len(faces))):
            x, y = part[:, 0, None], part[:, 1, None]
            wa = ((b[:, 0] - x) * (c[:, 1] - y) - (b[:, 1] - y) * (c[:, 0] - x)) / area
            wb = ((c[:, 0] - x) * (a[:, 1] - y) - (c[:, 1] - y) * (a[:, 0] - x)) / area
            wc = 1 - wa - wb
            depth = wa * a[:, 2] + wb * b[:, 2] + wc * c[:, 2]
            depth = torch.where((wa >= 0) & (wb >= 0) & (wc >= 0), depth, torch.inf)
            least, index = depth.min(1)
            nearest.append(torch.where(least.isfinite(), index, -1))
        found.append(torch.cat(nearest).view(size, size))
    return torch.stack(found)


def plain_visibility(projected: Tensor, faces: Tensor, texels: Tensor) -> Tensor:
    """Every texel [B, T, 3] against every triangle; [B, 1, 1, T], 1 where none lies clearly in front of it."""
    seen = []
    for vertices, points in zip(projected, texels, strict=True):
        a, b, c = vertices[faces].unbind(1)
        area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
        parts = []
        for part in points.split(max(1, _PLAIN_CHUNK // len(faces))):
            x, y, z = part.T[..., None]
            wa = ((b[:, 0] - x) * (c[:, 1] - y) - (b[:, 1] - y) * (c[:, 0] - x)) / area
            wb = ((c[:, 0] - x) * (a[:, 1] - y) - (c[:, 1] - y) * (a[:, 0] - x)) / area
            depth = wa * a[:, 2] + wb * b[:, 2] + (1 - wa - wb) * c[:, 2]
            hides = (wa >= 0) & (wb >= 0) & (wa + wb <= 1) & (depth < z - 0.02)
            parts.append(~hides.any(1))
        seen.append(torch.cat(parts))
    return torch.stack(seen)[:, None, None].float()


def plain_skinning(flame: Flame, shape: Tensor, pose: Tensor) -> Tensor:
    """Linear blend skinning person by person with one 4 x 4 matrix per joint."""
    people = []
    for one_shape, one_pose in zip(shape, pose, strict=True):
        offsets = torch.nn.functional.pad(one_shape, (0, flame.n_expression)) @ flame.directions
        shaped = flame.template + offsets.view(-1, 3)
        joints = flame.joint_template + torch.einsum(
            "k,kjc->jc", torch.nn.functional.pad(one_shape, (0, flame.n_expression)), flame.joint_directions
        )
        turns = [torch.linalg.matrix_exp(_cross_matrix(turn)) for turn in one_pose.view(5, 3)]
        feature = torch.cat([(turn - torch.eye(3)).flatten() for turn in turns[1:]])
        posed = shaped + (feature @ flame.pose_directions).view(-1, 3)
        world: list[Tensor] = []
        vertices = torch.zeros_like(posed)
        for joint, parent in enumerate((-1, 0, 1, 1, 1)):
            local = torch.eye(4)
            local[:3, :3] = turns[joint]
            local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
            world.append(local if parent < 0 else world[parent] @ local)
            moved = (posed - joints[joint]) @ world[joint][:3, :3].T + world[joint][:3, 3]
            vertices = vertices + flame.weights[:, joint : joint + 1] * moved
        people.append(vertices)
    return torch.stack(people)


def _cross_matrix(vector: Tensor) -> Tensor:
    x, y, z = vector
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3)


class Contest(NamedTuple):
    """Our call, and the peer's name and call where there is a peer."""

    ours: Callable[[], object]
    peer_name: str = "-"
    peer: Callable[[], object] | None = None


def _decoder(case: Case) -> Contest:
    """Ours gives the landmarks as well."""
    flame = Flame(anny_head())
    shape, expression, pose = torch.randn(case.batch, 100), torch.zeros(case.batch, 50), torch.randn(case.batch, 15) / 5
    try:
        from smplx.lbs import lbs  # noqa: PLC0415  optional peer
    except ImportError:
        plain = lambda: plain_skinning(flame, shape, pose)  # noqa: E731
        return Contest(lambda: flame(shape, expression, pose), "plain 4 x 4", plain)
    head = anny_head()
    directions = flame.directions.T.reshape(-1, 3, flame.directions.shape[0]).contiguous()
    regressor, parents = torch.tensor(head.joint_regressor), torch.tensor([-1, 0, 1, 1, 1])
    arguments = (flame.template[None], directions, flame.pose_directions, regressor, parents, flame.weights)
    values = torch.cat([shape, expression], 1)
    return Contest(lambda: flame(shape, expression, pose), "smplx", lambda: lbs(values, pose, *arguments))


def _rasterizer(case: Case) -> Contest:
    points, faces = sphere(case.triangles)
    backward = "backward" in case.piece
    vertices = points.expand(case.batch, -1, -1).contiguous().requires_grad_(backward)

    size = (case.pixels, case.pixels)

    def ours() -> None:
        fragments = rasterize(vertices, faces, size)
        if backward:
            (fragments.zbuf.sum() + fragments.bary.square().sum()).backward()

    try:
        from pytorch3d.renderer.mesh import rasterize_meshes  # noqa: PLC0415  optional peer
        from pytorch3d.structures import Meshes  # noqa: PLC0415
    except ImportError:
        if backward:
            return Contest(ours)
        return Contest(ours, "every pixel x triangle", lambda: plain_rasterize(vertices, faces, case.pixels))

    def theirs() -> None:
        meshes = Meshes(vertices + torch.tensor([0, 0, 2.0]), faces.expand(case.batch, -1, -1))
        _, depth, bary, _ = rasterize_meshes(meshes, size, faces_per_pixel=1, perspective_correct=False)
        if backward:
            (depth.sum() + bary.square().sum()).backward()

    return Contest(ours, "PyTorch3D", theirs)


def _shading(case: Case) -> Contest:
    albedo = torch.rand(case.batch, case.pixels, case.pixels, 3)
    normals = torch.nn.functional.normalize(torch.randn_like(albedo), dim=-1)
    light = torch.randn(case.batch, 9, 3)

    def plain() -> Tensor:
        x, y, z = normals.unbind(-1)
        one = torch.ones_like(x)
        functions = [0.282095 * one, 1.023327 * x, 1.023327 * y, 1.023327 * z, 0.858086 * x * y, 0.858086 * x * z,
                     0.858086 * y * z, 0.429043 * (x * x - y * y), 0.247708 * (3 * z * z - 1)]  # fmt: skip
        lit = torch.zeros_like(albedo)
        for k, value in enumerate(functions):
            lit = lit + value[..., None] * light[:, None, None, k]
        return albedo * lit

    return Contest(lambda: shade(albedo, normals, light), "sum over k", plain)


def _texture(case: Case) -> Contest:
    head = anny_head()
    flame, renderer = Flame(head), Renderer(head, case.pixels, case.pixels, 1)
    out = flame(torch.zeros(case.batch, 100), torch.zeros(case.batch, 50), torch.zeros(case.batch, 15))
    centred = out.vertices - out.landmarks.mean(1, keepdim=True)
    camera = torch.tensor([[9.0, 0.0, 0.0]]).expand(case.batch, -1)
    projected = orthographic_project(centred, camera)
    photograph = torch.rand(case.batch, 3, case.pixels, case.pixels)
    view = renderer.view(out.vertices, projected)

    def plain() -> Tensor:
        texels = renderer.space.unwrap(projected, renderer.faces).flatten(1, 2)
        weight = plain_visibility(projected, renderer.faces, texels)
        return torch.nn.functional.grid_sample(photograph, texels[:, None, :, :2], align_corners=False) * weight

    return Contest(lambda: renderer.extract(photograph, view), "every texel x triangle", plain)


PIECES = {"decoder": _decoder, "rasterizer": _rasterizer, "rasterizer + backward": _rasterizer,
          "shading": _shading, "texture": _texture}  # fmt: skip


def _memory_mib(field: str) -> float:
    """VmRSS, what the process holds, or VmHWM, the most it has held since the mark was last reset."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / _KIB_PER_MIB


def measure_memory(case: Case, side: str) -> float:
    """MiB that the first call of "ours" or the "peer" takes; NaN where there is no peer."""
    contest = PIECES[case.piece](case)
    call = contest.ours if side == "ours" else contest.peer
    if call is None:
        return float("nan")
    # What earlier calls freed goes back to the system, or a first call could take it without being seen.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory_mib("VmRSS")
    call()
    return _memory_mib("VmHWM") - before


def measure_time(case: Case) -> dict[str, object]:
    """Median milliseconds of ours and the peer."""
    contest = PIECES[case.piece](case)
    calls = [contest.ours, contest.peer] if contest.peer else [contest.ours]
    times: list[list[float]] = [[] for _ in calls]
    began = time.perf_counter()
    while len(times[0]) < _FEWEST_ROUNDS or (
        time.perf_counter() - began < _AT_LEAST_SECONDS and len(times[0]) < _MOST_ROUNDS
    ):
        for record, call in zip(times, calls, strict=True):
            start = time.perf_counter()
            call()
            record.append(time.perf_counter() - start)
    # The first round warms up.
    mine, *theirs = (statistics.median(record[1:]) for record in times)
    ratio = {"peer ms": 1e3 * theirs[0], "peer / ours": theirs[0] / mine} if theirs else {}
    return {**case._asdict(), "ms": 1e3 * mine, "peer": contest.peer_name, **ratio}


def _measured_apart(index: int, *extra: str) -> Any:
    command = [sys.executable, __file__, "--case", str(index), *extra]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def growth(table: pd.DataFrame) -> pd.DataFrame:
    """Each case against the first of its piece from which it differs in one size: how that, time and memory grow."""
    rows = []
    for _, group in table.groupby("piece", sort=False):
        first = group.iloc[0]
        for _, row in group.iloc[1:].iterrows():
            changed = [size for size in ("batch", "triangles", "pixels") if row[size] != first[size]]
            factor = row[changed[0]] / first[changed[0]]
            size = f"{changed[0]} x {factor:.2g}" + (" a side" if changed[0] == "pixels" else "")
            found = {name: row[name] / first[name] if first[name] > 1 else float("nan") for name in ("ms", "MiB")}
            peers = row["peer ms"] / first["peer ms"]
            rows.append(
                {
                    "piece": row["piece"],
                    "grows": size,
                    "time x": found["ms"],
                    "memory x": found["MiB"],
                    "peer time x": peers,
                }
            )
    return pd.DataFrame(rows)


def _shown(table: pd.DataFrame, digits: dict[str, int]) -> str:
    text = table.copy()
    for column, places in digits.items():
        text[column] = text[column].map(lambda value, places=places: "-" if pd.isna(value) else f"{value:,.{places}f}")
    return text.to_markdown(index=False, disable_numparse=True)


def main() -> None:
    """Every case in a fresh process, two Markdown tables."""
    parser = argparse.ArgumentParser(description="Time and memory of decoder, rasterizer, shading and texture.")
    parser.add_argument("--case", type=int, help="measure only this one, print JSON")
    parser.add_argument("--memory", choices=("ours", "peer"), help="of the case, instead of time")
    options = parser.parse_args()
    if options.case is not None:
        # The kernel is compiled, or read from its cache, before memory is looked at.
        rasterize(*sphere(100), (8, 8))
        case = CASES[options.case]
        print(json.dumps(measure_memory(case, options.memory) if options.memory else measure_time(case)))
        return
    rows = []
    for index in range(len(CASES)):
        row, mine, theirs = (
            _measured_apart(index, *extra) for extra in ((), ("--memory", "ours"), ("--memory", "peer"))
        )
        rows.append(row | {"MiB": mine, "peer MiB": theirs})
    table = pd.DataFrame(rows)
    table["peer / ours, MiB"] = (table["peer MiB"] / table["MiB"]).where(table["MiB"] > 1)
    digits = {"ms": 2, "MiB": 1, "peer ms": 1, "peer MiB": 1, "peer / ours": 1, "peer / ours, MiB": 1}
    print(_shown(table, digits))
    print()
    print(_shown(growth(table), {"time x": 1, "memory x": 1, "peer time x": 1}))


if __name__ == "__main__":
    main()

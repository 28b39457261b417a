"""The pictures of docs/conventions.md: `python benchmarks/convention_pictures.py`."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.spatial.transform import Rotation

from mfnet.head import Directions, Flame, anny_head
from mfnet.method.network import Decoded, decode, mean_parameters
from mfnet.render import Renderer
from mfnet.render.camera import Lens
from mfnet.synthesis.pose import head_rotation

FIGURES, SIZE = Path("docs/figures"), 512
# A photograph of a head whose crop is 0.2 m wide from half a metre: focal / s = 0.5 with s = 10.
_NEAR = 5.0


def mean_head(turn: np.ndarray | None = None, lens: Lens | None = None, closer: float = 1.0) -> Decoded:
    """The mean head, turned by a rotation [3, 3], where a camera has it; larger by a factor."""
    parameters = mean_parameters(1, 1, Directions())
    if turn is not None:
        parameters.rotation[0, 0] = torch.tensor(Rotation.from_matrix(turn).as_rotvec())
    parameters.camera[0, 0, 0] = np.log(closer)
    return decode(Flame(anny_head()), parameters, lens=lens)


def drawn(decoded: Decoded) -> np.ndarray:
    """The head in grey on white, [SIZE, SIZE, 3]."""
    renderer = Renderer(anny_head(), SIZE, 8, n_albedo=0)
    shading = renderer.depth_shading(renderer.view(decoded.vertices, decoded.projected))[0]
    return torch.where(shading > 0, shading, torch.ones_like(shading)).permute(1, 2, 0).numpy()


def show(axes: Axes, picture: np.ndarray) -> None:
    """A picture over [-1, 1]."""
    axes.imshow(picture, extent=(-1, 1, 1, -1))
    axes.set_axis_off()


def axes_picture(target: Path) -> None:
    """The mean head, turned a little, with its axes."""
    turn = head_rotation(-35, 18)
    decoded = mean_head(turn, closer=0.6)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    show(axes, drawn(decoded))
    origin = decoded.landmarks[:, 27:31].mean(1)[0, :2].numpy()
    # In the picture y points down.
    ends = 0.75 * turn.T[:, :2] * [1, -1]
    names = {"x, to the person's left": "tab:red", "y, up": "tab:green", "z, forward": "tab:blue"}
    for end, (name, colour) in zip(ends, names.items(), strict=True):
        axes.annotate("", origin + end, origin, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2.5})
        axes.text(*(origin + 1.12 * end), name, color=colour, fontsize=12, ha="center", va="center")
    figure.savefig(target, dpi=90)


def pixels_picture(target: Path) -> None:
    """Four by four pixels, their centres in both coordinates."""
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    for row in range(4):
        for column in range(4):
            x, y = (2 * column + 1) / 4 - 1, (2 * row + 1) / 4 - 1
            axes.plot(column + 0.5, row + 0.5, ".", color="black", ms=4)
            axes.text(column + 0.5, row + 0.38, f"({column + 0.5}, {row + 0.5})", ha="center", fontsize=9)
            axes.text(column + 0.5, row + 0.75, f"({x:+.2f}, {y:+.2f})", ha="center", fontsize=9, color="tab:blue")
    axes.set(xlim=(0, 4), ylim=(4, 0), xticks=range(5), yticks=range(5), aspect="equal")
    axes.set(xlabel="x in pixels (black), in [-1, 1] (blue)", ylabel="y")
    axes.grid(True)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    figure.savefig(target, dpi=90)


def cameras_picture(target: Path) -> None:
    """One head by both cameras."""
    lens = Lens(torch.tensor([_NEAR]), torch.zeros(1, 2))
    figure = Figure(figsize=(8, 4.3), layout="constrained")
    for axes, (name, decoded) in zip(
        figure.subplots(1, 2),
        {"scaled orthography": mean_head(), "pinhole, from half a metre": mean_head(lens=lens)}.items(),
        strict=True,
    ):
        show(axes, drawn(decoded))
        axes.set_title(name, fontsize=12)
    figure.savefig(target, dpi=90)


def landmarks_picture(target: Path) -> None:
    """The 68 landmarks with their numbers."""
    decoded = mean_head()
    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.subplots()
    show(axes, drawn(decoded))
    points = decoded.landmarks[0, :, :2].numpy()
    axes.plot(*points.T, ".", color="tab:red", ms=5)
    for number, (x, y) in enumerate(points):
        axes.text(x + 0.01, y - 0.01, str(number), fontsize=8, color="tab:blue")
    low, high = points.min(0) - 0.12, points.max(0) + 0.12
    axes.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]))
    figure.savefig(target, dpi=90)


def main() -> None:
    """Draw them all."""
    mpl.rcParams["font.family"] = "DejaVu Sans"
    for name, draw in {
        "axes": axes_picture, "pixels": pixels_picture, "cameras": cameras_picture, "landmarks": landmarks_picture,
    }.items():  # fmt: skip
        draw(FIGURES / f"convention_{name}.jpg")


if __name__ == "__main__":
    main()

"""The mesh of the procedural head: a grid of rows and columns over the skin, slit at the eyes and the mouth.

Rows run from the neck to the crown, columns around the head from the back over the person's right, the front and
the left. A slit is a stretch of one row whose vertices exist twice, once for each lid or lip; opening it moves the
two copies apart. The mouth continues inwards as a pocket; each eye opening shows an eyeball.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mfnet.head.procedural.surface import AXIS_Z, CROWN_Y, EYE_CENTRE, EYE_RADIUS, cast_to_skin

EYE_SLIT_Y, MOUTH_SLIT_Y = 21.0, -57.5
UPPER_LID, LOWER_LID = 6.0, 4.0
EYE_INNER_CORNER, EYE_OUTER_CORNER, MOUTH_CORNER = 17.5, 45.0, 24.5
_UV_GRID_BOTTOM = 0.13
_EYE_RINGS, _EYE_SECTORS = 9, 18
_MOUTH_DEPTHS = ((7.0, 1.5), (19.0, 4.0), (32.0, 5.0))
_SOCKET_DEPTHS = ((6.0, 0.0),)


@dataclass(frozen=True)
class Slit:
    """One opening: its row and columns, and the vertex of each lip (equal at the two corners)."""

    row: int
    columns: np.ndarray
    upper: np.ndarray
    lower: np.ndarray


@dataclass(frozen=True)
class Topology:
    """The mean head's mesh with what the other parts of the construction need to know about it.

    Millimetres. ``azimuth`` (radians, 0 in front, towards +x positive) and ``level`` (height of the ray) locate
    a skin vertex on the grid, [V] each, NaN off the skin; ``closed`` is the mesh with the eyes shut; ``grid``
    [rows, columns] gives the vertex of each grid point, the upper lip's at slits.
    """

    vertices: np.ndarray
    closed: np.ndarray
    faces: np.ndarray
    uv_coordinates: np.ndarray
    uv_faces: np.ndarray
    azimuth: np.ndarray
    level: np.ndarray
    grid: np.ndarray
    right_eye: Slit
    left_eye: Slit
    mouth: Slit
    below_mouth: np.ndarray
    pocket: np.ndarray
    eyeballs: dict[str, np.ndarray]
    regions: dict[str, np.ndarray]


def _columns() -> np.ndarray:
    """Azimuth of each column in radians, from just past the back round to the back: dense in front."""
    front = np.linspace(0, 36.4, 15)
    side = np.linspace(36.4, 74, 9)[1:]
    ear = np.linspace(74, 126, 13)[1:]
    back = np.linspace(126, 180, 7)[1:]
    half = np.concatenate([front, side, ear, back])
    return np.radians(np.concatenate([-half[-2:0:-1], half]))


def _rows() -> tuple[np.ndarray, np.ndarray]:
    """Height and elevation of each row's rays; the last rows fan upwards over the crown."""
    heights = np.concatenate(
        [
            np.linspace(-190, -122, 6),
            np.linspace(-112, -92, 5),
            np.arange(-88.5, -36, 3.1),
            np.arange(-34, -1, 3.4),
            np.arange(2.0, 44, 3.1666),
            [CROWN_Y - 4, CROWN_Y],
        ]
    )
    elevation = np.radians(np.linspace(0, 84, 12)[1:])
    return (
        np.concatenate([heights, np.full(len(elevation), CROWN_Y)]),
        np.concatenate([np.zeros(len(heights)), elevation]),
    )


def _slit_profile(azimuth: np.ndarray, first: int, last: int) -> np.ndarray:
    """How far open a slit is along its columns: 0 at the corners and outside, 1 at its widest."""
    along = np.clip((azimuth - azimuth[first]) / (azimuth[last] - azimuth[first]), 0, 1)
    return np.sin(np.pi * along) ** 0.8


def _column_at(azimuth: np.ndarray, x: float, z: float) -> int:
    return int(np.argmin(np.abs(azimuth - np.arctan2(x, z - AXIS_Z))))


def _grid_points(
    azimuth: np.ndarray, slits: list[tuple], eyes_open: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions [rows, columns, 3], ray heights [rows, columns] of the grid, and those of the lower copies."""
    heights, elevation = _rows()
    level = np.repeat(heights[:, None], len(azimuth), 1)
    lower_level = level.copy()
    for row, first, last, up, down, lift in slits:
        profile = _slit_profile(azimuth, first, last)
        reach = np.arange(len(heights)) - row
        fade = np.exp(-((np.abs(reach) / 3.0) ** 1.5))[:, None]
        centre_line = lift * profile * fade
        level = level + np.where(reach[:, None] >= 0, up * eyes_open, -down * eyes_open) * profile * fade + centre_line
        lower_level = lower_level - down * eyes_open * profile * fade + centre_line

    def cast(levels: np.ndarray) -> np.ndarray:
        direction = np.stack(
            [
                np.sin(azimuth)[None] * np.cos(elevation)[:, None],
                np.repeat(np.sin(elevation)[:, None], len(azimuth), 1),
                np.cos(azimuth)[None] * np.cos(elevation)[:, None],
            ],
            -1,
        )
        origin = np.stack([np.zeros_like(levels), levels, np.full_like(levels, AXIS_Z)], -1)
        return cast_to_skin(origin.reshape(-1, 3), direction.reshape(-1, 3)).reshape(*levels.shape, 3)

    rows = sorted({slit[0] for slit in slits})
    lower = level.copy()
    for row in rows:
        lower[row] = lower_level[row]
    return cast(level), level, cast(lower)


def _smooth(points: np.ndarray, faces: np.ndarray, fixed: np.ndarray, rounds: int, share: float) -> np.ndarray:
    """Move each free vertex a share of the way to the mean of its neighbours, a few times."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    degree = np.bincount(edges[:, 0], minlength=len(points))[:, None]
    for _ in range(rounds):
        total = np.zeros_like(points)
        np.add.at(total, edges[:, 0], points[edges[:, 1]])
        moved = points + share * (total / np.maximum(degree, 1) - points)
        points = np.where(fixed[:, None], points, moved)
    return points


def _eyeball(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A sphere with its pole at the pupil: vertices, triangles and angle-preserving texture coordinates."""
    polar = np.linspace(0, np.pi, _EYE_RINGS + 1)[1:-1]
    around = np.arange(_EYE_SECTORS) * 2 * np.pi / _EYE_SECTORS
    ring = np.stack(
        [
            np.sin(polar)[:, None] * np.cos(around),
            np.sin(polar)[:, None] * np.sin(around),
            np.repeat(np.cos(polar)[:, None], _EYE_SECTORS, 1),
        ],
        -1,
    ).reshape(-1, 3)
    sphere = np.concatenate([[[0, 0, 1]], ring, [[0, 0, -1]]])
    disc = (polar / np.pi)[:, None, None] * np.stack([np.cos(around), np.sin(around)], -1)
    uv = np.concatenate([[[0, 0]], disc.reshape(-1, 2), [[1, 0]]]) * 0.5 + 0.5
    faces = []
    last = len(sphere) - 1
    for sector in range(_EYE_SECTORS):
        following = (sector + 1) % _EYE_SECTORS
        faces.append([0, 1 + sector, 1 + following])
        for ring_index in range(len(polar) - 1):
            a, b = 1 + ring_index * _EYE_SECTORS + sector, 1 + ring_index * _EYE_SECTORS + following
            faces += [[a, a + _EYE_SECTORS, b + _EYE_SECTORS], [a, b + _EYE_SECTORS, b]]
        base = 1 + (len(polar) - 1) * _EYE_SECTORS
        faces.append([base + sector, last, base + following])
    centre = EYE_CENTRE * np.array([side, 1, 1])
    return sphere * EYE_RADIUS + centre, np.array(faces), uv


class _Builder:
    """Collects vertices, triangles and texture coordinates part by part."""

    def __init__(self) -> None:
        self.vertices: list[np.ndarray] = []
        self.closed: list[np.ndarray] = []
        self.faces: list[np.ndarray] = []
        self.uv: list[np.ndarray] = []
        self.uv_faces: list[np.ndarray] = []
        self.n_vertices = self.n_uv = 0

    def add_vertices(self, points: np.ndarray, closed: np.ndarray | None = None) -> np.ndarray:
        self.vertices.append(points)
        self.closed.append(points if closed is None else closed)
        self.n_vertices += len(points)
        return np.arange(self.n_vertices - len(points), self.n_vertices)

    def add_uv(self, uv: np.ndarray) -> np.ndarray:
        self.uv.append(uv)
        self.n_uv += len(uv)
        return np.arange(self.n_uv - len(uv), self.n_uv)

    def add_faces(self, faces: np.ndarray, uv_faces: np.ndarray) -> None:
        self.faces.append(faces)
        self.uv_faces.append(uv_faces)


def _quads(lower_left, lower_right, upper_right, upper_left) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Two counter-clockwise triangles per quad, [N] corners each to [2N, 3]."""
    first = np.stack([lower_left, lower_right, upper_right], -1)
    second = np.stack([lower_left, upper_right, upper_left], -1)
    return np.stack([first, second], 1).reshape(-1, 3)


def build_topology() -> Topology:
    """Build the mean head's mesh (see the module's docstring); deterministic."""
    azimuth = _columns()
    heights, _ = _rows()
    eye_row = int(np.argmin(np.abs(heights - EYE_SLIT_Y)))
    mouth_row = int(np.argmin(np.abs(heights - MOUTH_SLIT_Y)))
    left = (_column_at(azimuth, EYE_INNER_CORNER, 33), _column_at(azimuth, EYE_OUTER_CORNER, 27))
    right = (len(azimuth) - 2 - left[1], len(azimuth) - 2 - left[0])
    mouth = (len(azimuth) - 2 - _column_at(azimuth, MOUTH_CORNER, 47), _column_at(azimuth, MOUTH_CORNER, 47))
    eyes = [(eye_row, *span, UPPER_LID, LOWER_LID, 0.0) for span in (right, left)]
    slits = [*eyes, (mouth_row, *mouth, 0.0, 0.0, 1.2)]

    points, level, lower_points = _grid_points(azimuth, slits, 1.0)
    closed, _, closed_lower = _grid_points(azimuth, slits, 0.0)
    builder = _Builder()
    n_rows, n_columns = level.shape
    grid = builder.add_vertices(points.reshape(-1, 3), closed.reshape(-1, 3)).reshape(n_rows, n_columns)
    lower_grid = grid.copy()
    made = []
    for row, first, last, *_ in slits:
        inner = np.arange(first + 1, last)
        lower_grid[row, inner] = builder.add_vertices(lower_points[row, inner], closed_lower[row, inner])
        columns = np.arange(first, last + 1)
        made.append(Slit(row, columns, grid[row, columns], lower_grid[row, columns]))

    u = np.linspace(0, 1, n_columns + 1)
    v = np.linspace(_UV_GRID_BOTTOM, 1, n_rows + 1)
    uv_grid = builder.add_uv(np.stack(np.meshgrid(u, v[:-1], indexing="xy"), -1).reshape(-1, 2)).reshape(
        n_rows, n_columns + 1
    )
    following = np.roll(np.arange(n_columns), -1)
    for row in range(n_rows - 1):
        builder.add_faces(
            _quads(grid[row], grid[row, following], lower_grid[row + 1, following], lower_grid[row + 1]),
            _quads(uv_grid[row, :-1], uv_grid[row, 1:], uv_grid[row + 1, 1:], uv_grid[row + 1, :-1]),
        )
    top = cast_to_skin(np.array([[0, CROWN_Y, AXIS_Z]]), np.array([[0.0, 1.0, 0.0]]))
    crown = builder.add_vertices(top)
    crown_uv = builder.add_uv(np.stack([(u[:-1] + u[1:]) / 2, np.ones(n_columns)], -1))
    builder.add_faces(
        np.stack([grid[-1], grid[-1, following], np.repeat(crown, n_columns)], -1),
        np.stack([uv_grid[-1, :-1], uv_grid[-1, 1:], crown_uv], -1),
    )

    so_far = np.concatenate([points.reshape(-1, 3), *builder.vertices[1:]])
    pocket = _add_pocket(builder, made[2], so_far, _MOUTH_DEPTHS, (0.30, 0.70))
    sockets = np.concatenate(
        [
            _add_pocket(builder, slit, so_far, _SOCKET_DEPTHS, strip)
            for slit, strip in ((made[0], (0.15, 0.27)), (made[1], (0.73, 0.85)))
        ]
    )
    eyeballs = {}
    for name, side, corner in (("left", 1, 0.88), ("right", -1, 0.0)):
        sphere, eye_faces, eye_uv = _eyeball(side)
        eyeballs[name] = builder.add_vertices(sphere)
        index = builder.add_uv(np.array([corner, 0.0]) + 0.12 * eye_uv)
        builder.add_faces(eye_faces + eyeballs[name][0], eye_faces + index[0])

    return _finish(builder, azimuth, level, grid, made, pocket, sockets, eyeballs)


def _add_pocket(
    builder: _Builder, slit: Slit, points: np.ndarray, depths: tuple, strip: tuple[float, float]
) -> np.ndarray:
    """What lies behind a slit: rows of vertices behind each lip, (depth, lift) in mm, that meet at the back."""
    n = len(slit.columns)
    along = np.linspace(-1, 1, n)
    chains = {}
    for name, lip, sign in (("upper", slit.upper, 1), ("lower", slit.lower, -1)):
        rows = [lip]
        for depth, lift in depths:
            shift = np.stack([-along * depth / 8, sign * lift * (1 - along**2), np.full(n, -depth)], -1)
            rows.append(builder.add_vertices(points[lip] + shift))
        chains[name] = rows
    n_rungs = 2 * (len(depths) + 1)
    strip_u, strip_v = np.linspace(*strip, n), np.linspace(0.01, 0.11, n_rungs)
    uv = builder.add_uv(np.stack(np.meshgrid(strip_u, strip_v, indexing="xy"), -1).reshape(-1, 2))
    uv = uv.reshape(n_rungs, n)
    ladder = [*chains["lower"], *chains["upper"][::-1]]
    for step in range(len(ladder) - 1):
        a, b = ladder[step], ladder[step + 1]
        builder.add_faces(
            _quads(a[:-1], a[1:], b[1:], b[:-1]),
            _quads(uv[step, :-1], uv[step, 1:], uv[step + 1, 1:], uv[step + 1, :-1]),
        )
    return np.concatenate([*chains["upper"][1:], *chains["lower"][1:]])


def _finish(builder, azimuth, level, grid, slits, pocket, sockets, eyeballs) -> Topology:  # type: ignore[no-untyped-def]
    vertices, closed = np.concatenate(builder.vertices), np.concatenate(builder.closed)
    faces = np.concatenate(builder.faces).astype(np.int64)
    uv_faces = np.concatenate(builder.uv_faces).astype(np.int64)
    kept = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    faces, uv_faces = faces[kept], uv_faces[kept]

    n_vertices = len(vertices)
    off_skin = np.zeros(n_vertices, bool)
    off_skin[pocket] = off_skin[sockets] = True
    for index in eyeballs.values():
        off_skin[index] = True
    fixed = off_skin.copy()
    for slit in slits:
        fixed[slit.upper] = fixed[slit.lower] = True
    vertices = _smooth(vertices, faces, fixed, rounds=3, share=0.35)
    closed = _smooth(closed, faces, fixed, rounds=3, share=0.35)

    vertex_azimuth, vertex_level = np.full(n_vertices, np.nan), np.full(n_vertices, np.nan)
    vertex_azimuth[grid] = np.repeat(azimuth[None], len(grid), 0)
    vertex_level[grid] = level
    below_mouth = np.zeros(n_vertices, bool)
    for slit in slits:
        inner = slit.lower[1:-1]
        vertex_azimuth[inner], vertex_level[inner] = azimuth[slit.columns[1:-1]], level[slit.row, slit.columns[1:-1]]
    right_eye, left_eye, mouth = slits
    below_mouth[grid[: mouth.row]] = True
    below_mouth[mouth.lower[1:-1]] = True
    below_mouth[pocket[len(pocket) // 2 :]] = True

    eyes = np.zeros(n_vertices, bool)
    eyes[sockets] = True
    for index in eyeballs.values():
        eyes[index] = True
    face = ~off_skin & (np.abs(vertices[:, 0]) < 68) & (vertices[:, 2] > -22) & (vertices[:, 1] > -108)
    face &= vertices[:, 1] < 88
    mouth_region = np.zeros(n_vertices, bool)
    mouth_region[pocket] = True
    return Topology(
        vertices, closed, faces, np.concatenate(builder.uv), uv_faces, vertex_azimuth, vertex_level, grid,
        right_eye, left_eye, mouth, below_mouth, pocket, eyeballs,
        {"face": face, "eyes": eyes, "mouth": mouth_region},
    )  # fmt: skip

"""Equation 1: shape, expression and pose parameters to vertices, joints and the 68 landmarks."""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mfnet.head.model import N_CONTOUR_ROWS, PARENTS, HeadModel

_MAX_YAW_ROW = (N_CONTOUR_ROWS - 1) // 2


class FlameOutput(NamedTuple):
    """What the decoder gives: vertices [B, V, 3], joints [B, 5, 3] and landmarks [B, 68, 3], in metres."""

    vertices: Tensor
    joints: Tensor
    landmarks: Tensor


def rotation_from_axis_angle(axis_angle: Tensor) -> Tensor:
    """Rodrigues' formula, smooth at zero.

    Args:
        axis_angle: [..., 3] radians.

    Returns:
        [..., 3, 3] rotation matrices.
    """
    squared = (axis_angle * axis_angle).sum(-1, keepdim=True)
    small = squared < 1e-8
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    sine = torch.where(small, 1 - squared / 6, angle.sin() / angle)[..., None]
    cosine = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / (angle * angle))[..., None]
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + sine * cross + cosine * (cross @ cross)


def yaw_degrees(rotation: Tensor) -> Tensor:
    """Yaw of heads with rotations [..., 3, 3] in FLAME's axes, [...] degrees; + is the nose to image right (+x)."""
    return torch.atan2(-rotation[..., 2, 0], rotation[..., :2, 0].norm(dim=-1)) * (180 / math.pi)


def contour_row(rotation: Tensor) -> Tensor:
    """Row of the contour table for a head rotation; + is the nose turning towards +x (DECA's sign).

    Args:
        rotation: [B, 3, 3] root times neck rotation in FLAME's axes.

    Returns:
        [B] int64 in 0..78: 0..39 for yaw +0..+39 degrees and beyond, 40..78 for -1..-39 and beyond.
    """
    degrees = yaw_degrees(rotation).clamp(-_MAX_YAW_ROW, _MAX_YAW_ROW).round().long()
    return torch.where(degrees >= 0, degrees, _MAX_YAW_ROW - degrees)


class Flame(nn.Module):
    """The decoder M(beta, theta, psi) = W(T_P(beta, theta, psi), J(beta), theta, weights) of equation 1.

    Shape and expression displacements first, joints regressed from that shaped mesh, pose correctives added,
    then linear blend skinning over five joints.
    """

    faces: Tensor
    template: Tensor
    directions: Tensor
    pose_directions: Tensor
    joint_template: Tensor
    joint_directions: Tensor
    weights: Tensor
    static_corners: Tensor
    static_barycentric: Tensor
    contour_corners: Tensor
    contour_barycentric: Tensor
    jaw_corners: Tensor
    jaw_barycentric: Tensor

    def __init__(
        self, head: HeadModel, n_shape: int = 100, n_expression: int = 50, landmarks_only: bool = False
    ) -> None:
        """Take the first directions of a head.

        Args:
            head: the head model.
            n_shape, n_expression: how many of its directions.
            landmarks_only: decode just the few hundred vertices that the landmarks need; `vertices` of the output are
                then these, and `faces` does not apply to them.
        """
        super().__init__()
        self.n_shape, self.n_expression = n_shape, n_expression
        directions = np.concatenate(
            [head.shape_directions[..., :n_shape], head.expression_directions[..., :n_expression]], -1
        )
        static = head.faces[head.static_landmark_faces]
        contour = head.faces[head.contour_landmark_faces]
        jaw_faces, jaw_barycentric = head.jaw_landmarks
        jaw = head.faces[jaw_faces]
        kept, renumbered = np.arange(len(head.template)), np.arange(len(head.template))
        if landmarks_only:
            kept = np.unique(np.concatenate([static.ravel(), contour.ravel(), jaw.ravel()]))
            renumbered = np.full(len(head.template), -1)
            renumbered[kept] = np.arange(len(kept))
        for name, array in {
            "template": head.template[kept],
            "directions": directions[kept].reshape(len(kept) * 3, -1).T,
            "pose_directions": head.pose_directions[kept].reshape(len(kept) * 3, -1).T,
            "joint_template": head.joint_regressor @ head.template,
            "joint_directions": np.einsum("jv,vck->kjc", head.joint_regressor, directions, optimize=True),
            "weights": head.skinning_weights[kept],
            "static_barycentric": head.static_landmark_barycentric,
            "contour_barycentric": head.contour_landmark_barycentric,
            "jaw_barycentric": jaw_barycentric,
        }.items():
            contiguous = np.ascontiguousarray(array, dtype=np.float32)
            self.register_buffer(name, torch.from_numpy(contiguous.copy()), persistent=False)
        for name, array in {
            "faces": head.faces,
            "static_corners": renumbered[static],
            "contour_corners": renumbered[contour],
            "jaw_corners": renumbered[jaw],
        }.items():
            self.register_buffer(name, torch.tensor(np.asarray(array), dtype=torch.int64), persistent=False)

    def only(self, vertices: Tensor) -> tuple[Flame, Tensor]:
        """A decoder of some vertices, [N] int64, and of those that the landmarks need.

        Returns:
            The decoder, and where in its output each vertex is, [V] int64, -1 for those that it leaves out.
        """
        landmarks = (self.static_corners, self.contour_corners, self.jaw_corners)
        kept = torch.cat([vertices, *(corners.flatten() for corners in landmarks)]).unique()
        place = torch.full((len(self.template),), -1, device=kept.device).index_copy(
            0, kept, torch.arange(len(kept), device=kept.device)
        )
        columns = (3 * kept[:, None] + torch.arange(3, device=kept.device)).flatten()
        part = copy.deepcopy(self)
        part.template, part.weights = self.template[kept], self.weights[kept]
        part.directions, part.pose_directions = self.directions[:, columns], self.pose_directions[:, columns]
        part.static_corners, part.contour_corners, part.jaw_corners = (place[corners] for corners in landmarks)
        return part, place

    def forward(self, shape: Tensor, expression: Tensor, pose: Tensor) -> FlameOutput:
        """Decode a batch.

        Args:
            shape: [B, n_shape] standard deviations.
            expression: [B, n_expression] standard deviations.
            pose: [B, 15] axis-angle of global, neck, jaw, left eye, right eye, in radians.

        Returns:
            vertices [B, V, 3], joints [B, 5, 3], landmarks [B, 68, 3], metres, FLAME's axes; iBUG order, the 17
            contour points following the yaw of root and neck; in the decoder's precision, also under autocast.
        """
        # Half precision would move vertices by millimetres.
        with torch.autocast(shape.device.type, enabled=False):
            return self._decode(*(parameter.to(self.template.dtype) for parameter in (shape, expression, pose)))

    def _decode(self, shape: Tensor, expression: Tensor, pose: Tensor) -> FlameOutput:
        batch = shape.shape[0]
        coefficients = torch.cat([shape, expression], 1)
        rotations = rotation_from_axis_angle(pose.view(batch, 5, 3))
        identity = torch.eye(3, dtype=pose.dtype, device=pose.device)
        pose_feature = (rotations[:, 1:] - identity).flatten(1)

        offsets = coefficients @ self.directions + pose_feature @ self.pose_directions
        posed_template = self.template + offsets.view(batch, -1, 3)
        joints = self.joint_template + torch.einsum("bk,kjc->bjc", coefficients, self.joint_directions)

        world_rotations, world_joints = self._chain(rotations, joints)
        translations = world_joints - (world_rotations @ joints[..., None])[..., 0]
        transforms = torch.cat([world_rotations, translations[..., None]], -1).flatten(2)
        blended = (self.weights @ transforms).unflatten(-1, (3, 4))
        vertices = (blended[..., :3] @ posed_template[..., None])[..., 0] + blended[..., 3]
        return FlameOutput(vertices, world_joints, self._landmarks(vertices, world_rotations[:, 1]))

    @staticmethod
    def _chain(rotations: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
        """World rotation [B, 5, 3, 3] and position [B, 5, 3] of each joint, parents before children."""
        world_rotations, world_joints = [rotations[:, 0]], [joints[:, 0]]
        for joint, parent in enumerate(PARENTS[1:], 1):
            offset = (joints[:, joint] - joints[:, parent])[..., None]
            world_joints.append((world_rotations[parent] @ offset)[..., 0] + world_joints[parent])
            world_rotations.append(world_rotations[parent] @ rotations[:, joint])
        return torch.stack(world_rotations, 1), torch.stack(world_joints, 1)

    def fixed_landmarks(self, vertices: Tensor) -> Tensor:
        """The 68 landmarks as annotations in space have them: the contour is the jaw's, however the head is turned.

        Args:
            vertices: [B, V, 3] of this decoder, in any frame, or as an affine camera has projected them.

        Returns:
            [B, 68, 3] in that frame.
        """
        batch = len(vertices)
        return self._on_surface(
            vertices, self.jaw_corners.expand(batch, -1, -1), self.jaw_barycentric.expand(batch, -1, -1)
        )

    def _landmarks(self, vertices: Tensor, head_rotation: Tensor) -> Tensor:
        row = contour_row(head_rotation.detach())
        return self._on_surface(vertices, self.contour_corners[row], self.contour_barycentric[row])

    def _on_surface(self, vertices: Tensor, contour_corners: Tensor, contour_barycentric: Tensor) -> Tensor:
        """Landmarks [B, 68, 3]: the contour's 17 at these corners [B, 17, 3], and the 51 that never move."""
        batch = len(vertices)
        corners = torch.cat([contour_corners, self.static_corners.expand(batch, -1, -1)], 1)
        barycentric = torch.cat([contour_barycentric, self.static_barycentric.expand(batch, -1, -1)], 1)
        index = corners.flatten(1)[..., None].expand(-1, -1, 3)
        points = vertices.gather(1, index).unflatten(1, (-1, 3))
        return (points * barycentric[..., None].to(points.dtype)).sum(2)

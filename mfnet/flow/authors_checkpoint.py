"""RAFT's weights as its authors publish them (github.com/princeton-vl/RAFT), under torchvision's names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# Applied in order; what none of them matches keeps its name.
_RENAMED = (
    (r"^module\.", ""),
    (r"^fnet\.", "feature_encoder."),
    (r"^cnet\.", "context_encoder."),
    (r"^(\w+_encoder)\.conv1\.", r"\1.convnormrelu.0."),
    (r"^(\w+_encoder)\.norm1\.", r"\1.convnormrelu.1."),
    (r"^(\w+_encoder)\.conv2\.", r"\1.conv."),
    (r"(layer\d\.\d)\.conv(\d)\.", r"\1.convnormrelu\2.0."),
    (r"(layer\d\.\d)\.norm(\d)\.", r"\1.convnormrelu\2.1."),
    (r"^update_block\.encoder\.conv([cf])(\d)\.", r"update_block.motion_encoder.conv\1\2.0."),
    (r"\.convc(\d)\.0\.", r".convcorr\1.0."),
    (r"\.convf(\d)\.0\.", r".convflow\1.0."),
    (r"^update_block\.encoder\.conv\.", "update_block.motion_encoder.conv.0."),
    (r"^update_block\.gru\.conv([zrq])(\d?)\.", lambda match: _recurrent(*match.groups())),
    (r"^update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
    (r"^update_block\.mask\.2\.", "mask_predictor.conv."),
)


def _recurrent(gate: str, number: str) -> str:
    return f"update_block.recurrent_block.convgru{number or 1}.conv{gate}."


def is_authors(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the authors' names."""
    return any(re.match(r"(module\.)?[fc]net\.", name) for name in state)


def torchvision_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' state dict, with or without DataParallel's prefix, as torchvision's raft_small or raft_large has it.

    Their residual blocks list the norm of the shortcut twice; once is kept.
    """
    renamed = {}
    for name, value in state.items():
        shortcut = re.search(r"(layer\d\.\d)\.norm[34]\.", name)
        if shortcut and name.replace(shortcut[0], f"{shortcut[1]}.downsample.1.") in state:
            continue
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)  # noqa: PLW2901
        renamed[name] = value
    return renamed

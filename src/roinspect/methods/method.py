"""The contract of a method: a LightningModule that yields one inspection graph."""

from __future__ import annotations

import dataclasses
import importlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from roinspect.data.dataset import DecodedCache
from roinspect.errors import UserError
from roinspect.inspection.bundle import SEGMENTER, Bundle, Threshold, read_bundle, read_weights
from roinspect.inspection.calibration import LeftOut, choose_threshold
from roinspect.inspection.prediction import Prediction
from roinspect.methods.registry import BUILT_IN, METHODS
from roinspect.nn.appearance import Appearance
from roinspect.nn.distributed import lowest

INSPECTING = tuple(name for name in METHODS if name != SEGMENTER)
"""Those that tell defective parts from good ones."""


class Look(NamedTuple):
    """What a method answers for N prepared images."""

    pred_score: Tensor
    """(N,), higher = more anomalous."""
    anomaly_map: Tensor
    """(N, 1, H, W), higher = more anomalous."""
    roi_map: Tensor
    """(N, 1, h, w), probability of the ROI on a grid of its own; ones where all of the image is inspected."""


class InspectionGraph(nn.Module):
    """Prepared image to verdict; normalisation, smoothing and pooling are inside.

    Validation, evaluation and export all run this graph and nothing else.

    Attributes:
        appearance: tells how far a whole image lies from those of the training.
    """

    def __init__(self) -> None:
        super().__init__()
        self.appearance = Appearance()

    @abstractmethod
    def look(self, image: Tensor) -> Look:
        """What the method makes of images (N, 3, H, W) in [0, 1]."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, 3, H, W) in [0, 1] to the four `OUTPUTS`.

        Returns:
            `pred_score` (N,), `anomaly_map` (N, 1, H, W), `roi_map` (N, 1, h, w), `novelty` (N,).
        """
        return *self.look(image), self.appearance(image)

    def reconstruct(self, image: Tensor) -> Tensor | None:
        """The repaired image (N, 3, H, W) in [0, 1], for methods that repair; else None."""
        return None

    def predict_roi(self, image: Tensor) -> Tensor | None:
        """The probability (N, 1, H, W) of the ROI, for methods that predict it from the image; else None."""
        return None


class Method(lightning.LightningModule):
    """A method in training.

    Args:
        settings: of the method's settings class.
        size_hw: image height and width.
        seed: all randomness of a step is drawn from (seed, epoch, step), so a resumed run repeats it.
        epochs: length of the training, for schedules.

    Attributes:
        name: as in `roinspect train NAME`.
        trains_on: "good" images only, "all", or those with a drawn "roi", whatever their label.
        settings_class: a frozen dataclass; ``settings_class.preset(name)`` gives the presets, and
            ``settings.training(name)`` what of `TrainingSettings` goes with one.
        map_share: as `Bundle.map_share`.
        default_steps: length of a training where none is asked for.
        most_steps: length that it may then grow to while it still gets better; None: it does not grow.
        most_epochs: epochs to which this training may grow; the trainer's limit.
        fills_budget: whether more steps are worth more time; a comparison trains others for their default.
    """

    name: ClassVar[str]
    trains_on: ClassVar[Literal["good", "all", "roi"]]
    settings_class: ClassVar[type]
    map_share: ClassVar[float | None] = None
    default_steps: ClassVar[int] = 600
    most_steps: ClassVar[int | None] = None
    fills_budget: ClassVar[bool] = True

    def __init__(self, settings: Any, size_hw: tuple[int, int], *, seed: int = 0, epochs: int = 1) -> None:
        super().__init__()
        self.settings, self.size_hw, self.seed, self.epochs = settings, size_hw, seed, epochs
        self.most_epochs = epochs
        self._finite: dict[str, Tensor] = {}

    @abstractmethod
    def inspection_graph(self) -> InspectionGraph:
        """The graph that is shipped; shares its weights with the module in training."""

    @classmethod
    @abstractmethod
    def build_graph(cls, settings: Any, size_hw: tuple[int, int]) -> InspectionGraph:
        """The same graph with fresh weights, for loading a bundle."""

    @classmethod
    def learns_from(cls, settings: Any) -> Literal["good", "all", "roi"]:
        """Which images a training with these settings is given."""
        return cls.trains_on

    @classmethod
    def prepared(cls, settings: Any) -> Any:
        """The settings with what depends on this machine settled, before a method is built."""
        return settings

    def begin(self, labels: NDArray[np.int64]) -> Mapping[str, str]:
        """Make ready for training on parts of these labels (N,): 0 good, 1 defective, -1 unknown.

        Returns:
            Fingerprints of what was loaded for it, by name.

        Raises:
            UserError: the method cannot learn from such labels, or pretrained weights are not available.
        """
        return {}

    def left_out_scores(self, fitted: DecodedCache, groups: Sequence[str]) -> LeftOut | None:
        """Good images that were trained on, scored as if they and their groups had not been.

        Args:
            fitted: the images that were trained on, decoded.
            groups: their groups' names, "" for none.

        Returns:
            None where that would take another training for each group.
        """
        return None

    def judge(
        self,
        scores: NDArray[np.float32],
        kept: DecodedCache,
        groups: Sequence[str],
        false_reject: float | None,
        left_out: LeftOut | None = None,
    ) -> tuple[Threshold, Mapping[str, Any]]:
        """What held-out images say of the trained graph.

        Args:
            scores: (N,), finite, of the held-out images.
            kept: these images, decoded.
            groups: N names of what near-duplicates share, "" for none.
            false_reject: share of good parts rejected at most, in [0, 1); None takes the best F1.
            left_out: as `left_out_scores`.

        Returns:
            The threshold, and measures for the bundle.
        """
        return choose_threshold(scores, kept.labels, groups, false_reject, left_out), {}

    def random(self, epoch: int, batch_index: int) -> torch.Generator:
        """Randomness of one step, from (seed, epoch, step, process) alone; epoch -1 is validation."""
        key = (self.seed, epoch + 1, batch_index, self.global_rank)
        state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
        return torch.Generator(self.device).manual_seed(int(state) >> 1)

    def note(self, stage: str, losses: Mapping[str, Tensor], batch_size: int) -> None:
        """Log a step's losses as `stage/name`, and remember whether all of them are finite."""
        noted = {f"{stage}/{name}": loss.detach() for name, loss in losses.items()}
        for name, loss in noted.items():
            # Gathered on the device; one look at the end of the epoch does not hold up the steps.
            self._finite[name] = self._finite.get(name, loss.new_ones((), dtype=torch.bool)) & loss.isfinite()
        self.log_dict(noted, on_step=False, on_epoch=True, batch_size=batch_size, sync_dist=True)

    def on_train_epoch_end(self) -> None:
        """Stop before a checkpoint where a loss was not a number.

        Raises:
            UserError: a loss was NaN or infinite in this epoch, in any process.
        """
        names = list(self._finite)
        is_finite = lowest([self._finite[name].float() for name in names])
        broken = [name for name, everywhere in zip(names, is_finite, strict=True) if not everywhere]
        if broken:
            raise UserError(
                f"not a finite number in epoch {self.current_epoch + 1}: {', '.join(broken)}",
                where="the training's losses",
                remedy="train again with a lower method.learning_rate or with training.precision 32-true",
            )
        self._finite.clear()


def method_class(name: str) -> type[Method]:
    """The method's class.

    Raises:
        UserError: there is no such method, or its package is damaged.
    """
    if name not in METHODS:
        raise UserError(f"no such method: {name}", remedy=f"choose one of {', '.join(METHODS)}")
    module, attribute = METHODS[name].split(":")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        if name in BUILT_IN:
            raise
        raise UserError(
            f"cannot be imported ({error})", where=f"method {name}", remedy="install its package again"
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, Method) and cls.name == name):
        raise UserError(
            f"{METHODS[name]} is no Method of this name",
            where=f"method {name}",
            remedy="report it to the authors of its package",
        )
    return cls


def load_graph(path: Path) -> tuple[Bundle, InspectionGraph]:
    """A bundle's manifest and its inspection graph, in evaluation mode.

    Raises:
        UserError: the bundle is missing, damaged, or its tensors do not fit its settings.
    """
    bundle = read_bundle(path)
    cls = method_class(bundle.method)
    known = {f.name for f in dataclasses.fields(cls.settings_class)}
    if set(bundle.method_settings) != known:
        odd = sorted(known ^ set(bundle.method_settings))
        raise UserError(
            f"its settings are not those of this roinspect ({', '.join(odd)})",
            where=path,
            remedy="train again",
        )
    graph = cls.build_graph(from_plain(cls.settings_class, bundle.method_settings), bundle.size_hw)
    try:
        graph.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise UserError(
            f"its weights do not fit its settings ({str(error).splitlines()[0]})",
            where=path,
            remedy="train again",
        ) from None
    graph.eval()
    return bundle, graph.to(memory_format=torch.channels_last)


def from_plain(cls: type, values: Any) -> Any:
    """A settings dataclass from the plain values that JSON kept: lists become tuples again."""
    return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def predict(graph: InspectionGraph, images: NDArray[np.uint8]) -> Prediction:
    """Run the inspection graph on decoded images: the one way from pixels to scores.

    Args:
        graph: in evaluation mode, on any device.
        images: (N, H, W, 3), uint8, RGB, of the size that the graph was trained for.

    Returns:
        All of it in float32.
    """
    device = next(graph.parameters()).device
    batch = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float().div_(255)
    with torch.inference_mode():
        pred_score, anomaly_map, roi_map, novelty = graph(batch)
    found = (pred_score, anomaly_map[:, 0], roi_map[:, 0], novelty)
    return Prediction(*(values.float().cpu().numpy() for values in found))

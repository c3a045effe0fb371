"""Base class of all networks in training: a LightningModule with settings, a seed and a length."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from roinspect.errors import UserError
from roinspect.nn.distributed import lowest


class Learner(lightning.LightningModule):
    """A network in training: a method, or the segmenter.

    Args:
        settings: of the learner's settings class.
        size_hw: image height and width.
        seed: all randomness of a step is drawn from (seed, epoch, step), so a resumed run repeats it.
        epochs: length of the training, for schedules.

    Attributes:
        name: of `roinspect train NAME`.
        settings_class: a frozen dataclass; ``settings_class.preset(name)`` returns a preset, and
            ``settings.training(name)`` the `TrainingSettings` that belong to it.
        default_steps: default length of a training.
        most_steps: largest length of a training that still improves; None: the length is fixed.
        most_epochs: largest number of epochs, the limit of the trainer.
        mixes: whether a training in mixed precision is as good, so that a GPU takes it by default.
    """

    name: ClassVar[str]
    settings_class: ClassVar[type]
    default_steps: ClassVar[int] = 600
    most_steps: ClassVar[int | None] = None
    mixes: ClassVar[bool] = False

    def __init__(self, settings: Any, size_hw: tuple[int, int], *, seed: int = 0, epochs: int = 1) -> None:
        super().__init__()
        self.settings, self.size_hw, self.seed, self.epochs = settings, size_hw, seed, epochs
        self.most_epochs = epochs
        self._finite: dict[str, Tensor] = {}

    @classmethod
    def prepared(cls, settings: Any) -> Any:
        """The settings with machine-dependent choices resolved; called before a learner is built."""
        return settings

    def begin(self, labels: NDArray[np.int64]) -> Mapping[str, str]:
        """Prepare training on parts with these labels (N,): 0 good, 1 defective, -1 unknown.

        Returns:
            Fingerprints of loaded weights, by name.

        Raises:
            UserError: the labels are insufficient, or pretrained weights are not available.
        """
        return {}

    @abstractmethod
    def preview(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """The current output for images (N, 3, H, W) in [0, 1].

        Returns:
            A map (N, 1, H, W), and the repaired images (N, 3, H, W), or None for networks that do not repair.
        """

    def random(self, epoch: int, batch_index: int) -> torch.Generator:
        """The generator of one step, seeded by (seed, epoch, step, process); epoch -1 is validation."""
        key = (self.seed, epoch + 1, batch_index, self.global_rank)
        state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
        return torch.Generator(self.device).manual_seed(int(state) >> 1)

    def note(self, stage: str, losses: Mapping[str, Tensor], batch_size: int) -> None:
        """Log the losses of a step as `stage/name`, and record whether they are finite."""
        noted = {f"{stage}/{name}": loss.detach() for name, loss in losses.items()}
        for name, loss in noted.items():
            # Collected on the device and read once per epoch, which avoids synchronisation.
            self._finite[name] = self._finite.get(name, loss.new_ones((), dtype=torch.bool)) & loss.isfinite()
        self.log_dict(noted, on_step=False, on_epoch=True, batch_size=batch_size, sync_dist=True)

    def on_train_epoch_end(self) -> None:
        """Stop before the checkpoint if a loss was not finite.

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

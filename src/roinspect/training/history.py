"""Training curves, stored in the checkpoint, and the progress bar."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class History(Callback):
    """Records every logged loss once per validation, and shows one progress bar for the whole training.

    Attributes:
        curves: name to (epoch, value) pairs, epochs from 1.
    """

    def __init__(self, epochs: int) -> None:
        self.curves: dict[str, list[tuple[int, float]]] = {}
        self._epochs = epochs
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("epoch {task.completed}/{task.total}"),
            TextColumn("{task.fields[losses]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._task = self._bar.add_task("training", total=epochs, losses="")

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Show the bar, starting at the epoch of a resumed run."""
        self._bar.update(self._task, completed=trainer.current_epoch)
        if trainer.is_global_zero:
            self._bar.start()

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Record the losses if held-out losses were computed in this epoch."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        epoch = trainer.current_epoch + 1
        for name, value in metrics.items():
            curve = self.curves.setdefault(name, [])
            if epoch % (trainer.check_val_every_n_epoch or 1) == 0 and (not curve or curve[-1][0] < epoch):
                curve.append((epoch, value))
        held_out = (
            f"{name.removeprefix('held-out/')} {value:.4f}"
            for name, value in metrics.items()
            if "held-out" in name
        )
        # Training may continue beyond the planned length while it improves.
        total = max(epoch, self._epochs)
        self._bar.update(self._task, completed=epoch, total=total, losses="  ".join(list(held_out)[:2]))

    def on_train_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Remove the bar; nothing remains of it where nothing was to be learned in steps."""
        self._bar.update(self._task, visible=trainer.current_epoch > 0)
        self.stop()

    def on_exception(self, *_: Any) -> None:
        """Remove the bar before the error is printed."""
        self.stop()

    def stop(self) -> None:
        """Remove the bar; can be called from any thread."""
        self._bar.stop()

    def state_dict(self) -> dict[str, Any]:
        """The curves, for a checkpoint."""
        return {"curves": {name: [list(pair) for pair in curve] for name, curve in self.curves.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the curves of a resumed run."""
        self.curves = {
            name: [(int(epoch), float(value)) for epoch, value in curve]
            for name, curve in state_dict["curves"].items()
        }

"""Train with Lightning, and score the held-out parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lightning
import numpy as np
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from roinspect.data.dataset import DecodedCache
from roinspect.data.loader import Batch
from roinspect.errors import UserError
from roinspect.methods.learner import Learner
from roinspect.methods.method import Method, predict
from roinspect.training.checkpoint import WholeCheckpoints
from roinspect.training.history import History
from roinspect.training.preview import Preview
from roinspect.training.processes import Processes
from roinspect.training.remarks import without_remarks


def fit(
    model: Learner,
    batches: DataLoader[Batch],
    checks: DataLoader[Batch],
    processes: Processes,
    run: Path,
    *,
    precision: str,
    every: int,
    steps_per_epoch: int,
    history: History,
    checkpoint: Path | None,
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[lightning.Callback] = (),
) -> None:
    """Train a model with Lightning, in all processes of the training.

    Args:
        model: to train.
        batches: this process's share of the training batches.
        checks: its share of the batches for the held-out losses.
        processes: all processes of the training.
        run: the folder for checkpoints and logs.
        precision: see Lightning's Trainer.
        every: epochs between checkpoints, and between held-out losses.
        steps_per_epoch: an epoch ends after so many batches.
        history: curves and progress.
        checkpoint: to resume from; None starts from scratch.
        loggers: of Lightning, beside the TensorBoard log.
        callbacks: of Lightning.

    Raises:
        UserError: a setting is invalid, or the run cannot be saved.
        KeyboardInterrupt: interrupted.
    """
    if checkpoint is not None and not checkpoint.is_file():
        raise UserError(
            f"process {processes.rank} cannot see it",
            where=checkpoint,
            remedy="put --out on a disk that all machines share",
        )
    try:
        with without_remarks():
            trainer = make_trainer(
                model,
                processes,
                run,
                precision=precision,
                every=every,
                steps_per_epoch=steps_per_epoch,
                history=history,
                loggers=loggers,
                callbacks=callbacks,
            )
            trainer.fit(model, batches, checks, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:
        # Lightning turns Ctrl-C into a SystemExit.
        raise KeyboardInterrupt(f"{run}: interrupted; continue with --resume") from None
    except OSError as error:
        raise UserError(
            f"the run cannot be saved ({error.strerror or error})",
            where=run,
            remedy="free space, then continue with --resume",
        ) from error


def make_trainer(
    model: Learner,
    processes: Processes,
    run: Path,
    *,
    precision: str,
    every: int,
    steps_per_epoch: int,
    history: History,
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[lightning.Callback] = (),
) -> lightning.Trainer:
    """Lightning's trainer, with a checkpoint and held-out losses every `every` epochs."""
    saver = ModelCheckpoint(
        run, filename="last", every_n_epochs=every, save_on_train_epoch_end=True, enable_version_counter=False
    )
    try:
        return lightning.Trainer(
            max_epochs=model.most_epochs,
            limit_train_batches=steps_per_epoch,
            accelerator=processes.accelerator,
            devices=processes.devices,
            num_nodes=processes.machines,
            strategy=_ddp(model) if processes.fabric else "auto",
            precision=precision,  # type: ignore[arg-type]  # validated by Lightning
            callbacks=[history, Preview(), saver, *callbacks],
            plugins=[WholeCheckpoints()],
            logger=[TensorBoardLogger(run, name="", version="tensorboard"), *loggers],
            check_val_every_n_epoch=every,
            log_every_n_steps=10,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            # The samplers of the loaders already give each process its share.
            use_distributed_sampler=False,
        )
    except (ValueError, MisconfigurationException) as error:
        raise UserError(
            str(error).rstrip("."),
            where="training.accelerator, devices, strategy or precision",
            remedy="leave them at their defaults, or see Lightning's Trainer",
        ) from None


def _ddp(model: Learner) -> DDPStrategy:
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(
            "nothing is trained by steps with these settings",
            where="training.devices",
            remedy="use one: the rest is done by one process alone",
        )
    # Running statistics differ between the processes and must be synchronised. Other buffers are constant,
    # and a memory of normal patches is too large to send in every step.
    has_batch_norm = any(isinstance(module, _BatchNorm) and module.training for module in model.modules())
    return DDPStrategy(
        # With three networks and optimisers, each backward pass uses only one of the networks.
        find_unused_parameters=not model.automatic_optimization,
        broadcast_buffers=has_batch_norm,
    )


def held_out_scores(model: Method, held_out: DecodedCache, batch_size: int, out: Path) -> NDArray[np.float32]:
    """Scores of the held-out images by the trained graph, (N,); UserError unless all are finite."""
    graph = model.inspection_graph().eval()
    rows = range(0, len(held_out), batch_size)
    scores = np.concatenate([predict(graph, held_out.images[i : i + batch_size]).pred_score for i in rows])
    if not np.isfinite(scores).all():
        raise UserError(
            "the trained network's scores are no finite numbers",
            where=out,
            remedy="train again with a lower method.learning_rate",
        )
    return scores

"""Distributed training: start or join the processes, and end them together."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import lightning
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException

from roinspect.errors import UserError
from roinspect.training.alarm import Alarm
from roinspect.training.remarks import without_remarks

T = TypeVar("T")

_VARIABLES = (
    "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "TORCH_CPP_LOG_LEVEL", "WORLD_SIZE",
)  # fmt: skip
_GONE = ("by peer", "remote process exited")
"""Phrases in the errors of gloo and NCCL if another process has exited."""


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a training, from the view of one of them.

    Attributes:
        accelerator: see Lightning's Trainer.
        rank: of this process; only rank 0, the first process, writes files and messages.
        count: number of processes on all machines.
        devices: devices per machine, see Lightning's Trainer.
        machines: number of machines.
        fabric: connects the processes; None for a single process.
        alarm: ends all processes if one fails; None for a single process.
    """

    accelerator: str = "auto"
    rank: int = 0
    count: int = 1
    devices: int | str = 1
    machines: int = 1
    fabric: lightning.Fabric | None = None
    alarm: Alarm | None = None

    def first(self, make: Callable[[], T]) -> T:
        """Call `make` in the first process, and return its result in all of them."""
        if self.fabric is None:
            return make()
        return self.fabric.broadcast(make() if self.rank == 0 else None)  # type: ignore[return-value]

    def farewell(self, call: Callable[[], None]) -> None:
        """Register a callback for when this process is ended because another one has failed."""
        if self.alarm is not None:
            self.alarm.farewells.append(call)


@contextmanager
def joined(accelerator: str, devices: int | str, strategy: str) -> Iterator[Processes]:
    """Start the other processes of a training, or join those started by torchrun or SLURM.

    Lightning starts the others by running the same command again, so all of them execute the `with` block. If
    one fails, all end: the first to fail raises its error, and the others exit with its exit code. At the end
    of the block only the first process continues; the others exit with code 0 once all have reached it.

    Args:
        accelerator: see Lightning's Trainer.
        devices: per machine; "auto" is the number of processes started by torchrun or SLURM, otherwise one.
        strategy: "ddp", or "auto", which is the same if there is more than one device.

    Raises:
        UserError: the processes cannot be started.
        SystemExit: in all processes but one.
    """
    devices, machines = _wanted(devices)
    if (devices, machines, strategy) == (1, 1, "auto"):
        yield Processes(accelerator)
        return
    before = {name: os.environ.get(name) for name in _VARIABLES}
    is_child = "LOCAL_RANK" in os.environ and _launcher() is None
    # Otherwise child processes print C++ stack traces when a connection ends.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        with without_remarks():
            fabric = lightning.Fabric(
                accelerator=accelerator, devices=devices, num_nodes=machines, strategy="ddp"
            )
            fabric.launch()
    except (ValueError, MisconfigurationException) as error:
        raise UserError(
            str(error).rstrip("."),
            where="training.accelerator, devices or strategy",
            remedy="leave them at their defaults, or see docs/scaling.md",
        ) from None
    rank, host = fabric.global_rank, os.environ["MASTER_ADDR"]
    if rank:
        logging.getLogger("roinspect").setLevel(logging.ERROR)
    alarm = Alarm(0, (host, 0), is_child=False) if rank == 0 else None
    port = fabric.broadcast(alarm.port if alarm else 0)
    alarm = alarm or Alarm(rank, (host, port), is_child=is_child)
    try:
        yield Processes(accelerator, rank, fabric.world_size, devices, machines, fabric, alarm)
        fabric.barrier()
    except BaseException as fault:
        is_gone = isinstance(fault, RuntimeError) and any(words in str(fault) for words in _GONE)
        code = 2 if is_gone else {UserError: 2, KeyboardInterrupt: 130}.get(type(fault), 1)
        if not alarm.ring(code):
            raise SystemExit(code) from None
        if not is_gone:
            raise
        raise UserError(
            "another process of the training was ended from outside",
            where=f"process {rank}",
            remedy="see whether memory ran out, then continue with --resume",
        ) from fault
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    alarm.stop()
    # The first process hosts the flag, so it waits until all have stopped polling.
    fabric.barrier()
    torch.distributed.destroy_process_group()
    if rank:
        raise SystemExit(0)


def _wanted(devices: int | str) -> tuple[int | str, int]:
    """Devices per machine, and number of machines."""
    launched = _launcher()
    if launched is None:
        return (1 if devices == "auto" else devices), 1
    launcher, count, machines = launched
    started = count // machines
    if devices not in ("auto", started):
        raise UserError(
            f"{devices} are asked for, but {launcher} has started {started} processes on each machine",
            where="training.devices",
            remedy=f"leave it out, or have {launcher} start as many as there are devices",
        )
    return started, machines


def _launcher() -> tuple[str, int, int] | None:
    """The launcher, its number of processes and of machines; None if not started by a launcher."""
    if TorchElasticEnvironment.detect():
        count = int(os.environ["WORLD_SIZE"])
        return "torchrun", count, count // int(os.environ["LOCAL_WORLD_SIZE"])
    if SLURMEnvironment.detect():
        return "SLURM", int(os.environ["SLURM_NTASKS"]), int(os.environ.get("SLURM_NNODES", "1"))
    return None

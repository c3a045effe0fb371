"""The processes that train one model: started or joined, given the same settings, ended together."""

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

_SET_MEANWHILE = (
    "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "TORCH_CPP_LOG_LEVEL", "WORLD_SIZE",
)  # fmt: skip
_GONE = ("by peer", "remote process exited")
"""What gloo and NCCL say when the other process has ended."""


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of one training, as one of them sees them.

    Attributes:
        accelerator: as Lightning takes it.
        rank: number of this one; 0 is the first, which alone writes and speaks.
        count: of all machines.
        devices: of one machine, as Lightning takes it.
        machines: with as many devices each.
        fabric: what joins them; None for one process alone.
        alarm: ends all when one fails; likewise.
    """

    accelerator: str = "auto"
    rank: int = 0
    count: int = 1
    devices: int | str = 1
    machines: int = 1
    fabric: lightning.Fabric | None = None
    alarm: Alarm | None = None

    def first(self, make: Callable[[], T]) -> T:
        """What the first process makes, for all of them; the others wait."""
        if self.fabric is None:
            return make()
        return self.fabric.broadcast(make() if self.rank == 0 else None)  # type: ignore[return-value]

    def farewell(self, call: Callable[[], None]) -> None:
        """Have this called where the process is ended from inside, as another one has failed."""
        if self.alarm is not None:
            self.alarm.farewells.append(call)


@contextmanager
def joined(accelerator: str, devices: int | str, strategy: str) -> Iterator[Processes]:
    """Start the other processes of a training, or join those that torchrun or SLURM has started.

    Lightning starts the others by running the same command again. What is done under this `with` is done in
    all of them. A fault of one ends all: the first one to fail raises it, and the others leave with its exit
    code. At the end only the first process goes on; the others leave with exit code 0 when it has come to the
    end too.

    Args:
        accelerator: as Lightning takes it.
        devices: of a machine; "auto" is as many as were started from outside, else one.
        strategy: "ddp", or "auto", which is the same where there are several.

    Raises:
        UserError: they cannot be started so.
        SystemExit: in all processes but one.
    """
    devices, machines = _wanted(devices)
    if (devices, machines, strategy) == (1, 1, "auto"):
        yield Processes(accelerator)
        return
    before = {name: os.environ.get(name) for name in _SET_MEANWHILE}
    is_child = "LOCAL_RANK" in os.environ and _outside() is None
    # Those that are started would otherwise print where in C++ a connection ended.
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
    # The first process keeps the word, and stays until nobody listens any longer.
    fabric.barrier()
    torch.distributed.destroy_process_group()
    if rank:
        raise SystemExit(0)


def _wanted(devices: int | str) -> tuple[int | str, int]:
    """Devices of a machine, and machines."""
    outside = _outside()
    if outside is None:
        return (1 if devices == "auto" else devices), 1
    starter, count, machines = outside
    started = count // machines
    if devices not in ("auto", started):
        raise UserError(
            f"{devices} are asked for, but {starter} has started {started} processes on each machine",
            where="training.devices",
            remedy=f"leave it out, or have {starter} start as many as there are devices",
        )
    return started, machines


def _outside() -> tuple[str, int, int] | None:
    """Who has started the processes, how many, and on how many machines; None where nobody has yet."""
    if TorchElasticEnvironment.detect():
        count = int(os.environ["WORLD_SIZE"])
        return "torchrun", count, count // int(os.environ["LOCAL_WORLD_SIZE"])
    if SLURMEnvironment.detect():
        return "SLURM", int(os.environ["SLURM_NTASKS"]), int(os.environ.get("SLURM_NNODES", "1"))
    return None

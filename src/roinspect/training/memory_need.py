"""The memory that a training step takes, before the first one, and the batch size that fits.

A step is run on tensors that have a shape but no values, and the bytes that are alive at a time are counted.
It takes a second or two, no memory, and no GPU.
"""

from __future__ import annotations

import copy
import logging
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from roinspect.data.loader import Batch
from roinspect.errors import UserError
from roinspect.methods.learner import Learner

log = logging.getLogger(__name__)

SLACK = 1.25
"""Factor for what is not counted: workspaces of convolutions, and gaps between the allocator's blocks."""

CONTEXT = 600 << 20
"""Bytes that CUDA and its libraries take on a GPU."""

_AT_MOST_PER_PIXEL = 25_000
"""Bytes per pixel and image, more than three times those of GRD-Net in the paper's sizes. Where even these
fit, nothing is measured."""

_PER_PARAMETER = 16
"""Bytes of a weight, its gradient and the two averages of Adam, in float32."""


class FreeMemory(NamedTuple):
    """Free memory, and of what."""

    free_bytes: int
    where: str


def refuse_too_little_memory(model: Learner, batch_size: int, accelerator: str, precision: str) -> None:
    """Raise a UserError if a step does not fit in the free memory; names the batch size that does.

    Args:
        model: the learner, with initial weights.
        batch_size: images per step and device.
        accelerator: of the training.
        precision: of the training.
    """
    memory = free_memory(accelerator)
    if memory is None:
        return
    height, width = model.size_hw
    weights = _PER_PARAMETER * sum(parameter.numel() for parameter in model.parameters())
    if weights + _AT_MOST_PER_PIXEL * batch_size * height * width < memory.free_bytes:
        return
    need = step_bytes(model, batch_size, precision)
    if need is None or _with_slack(need, memory) <= memory.free_bytes:
        return
    fitting = _fitting(model, batch_size, precision, memory)
    raise UserError(
        f"a step with {batch_size} image{'s' if batch_size > 1 else ''} of {height}x{width} takes about "
        f"{_with_slack(need, memory) / 1e9:.1f} GB, and {memory.free_bytes / 1e9:.1f} GB are free on "
        f"{memory.where}",
        where="training.batch_size",
        remedy=f"use a batch size of at most {fitting}"
        if fitting
        else "use a smaller --size or --preset compact",
    )


def _with_slack(need: int, memory: FreeMemory) -> float:
    return SLACK * need + (0 if memory.where == "this machine" else CONTEXT)


def _fitting(model: Learner, batch_size: int, precision: str, memory: FreeMemory) -> int:
    """The largest batch that fits, below one that does not; 0 if none does."""
    smallest, largest = 0, batch_size
    while largest - smallest > 1:
        middle = (smallest + largest) // 2
        need = step_bytes(model, middle, precision)
        if need is not None and _with_slack(need, memory) <= memory.free_bytes:
            smallest = middle
        else:
            largest = middle
    return smallest


def free_memory(accelerator: str) -> FreeMemory | None:
    """Free memory of the GPU that a training would use, or else of this machine; None if it is not known."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        # Each of several processes has its own GPU.
        device = int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
        free_bytes, _ = torch.cuda.mem_get_info(device)
        return FreeMemory(free_bytes, torch.cuda.get_device_name(device))
    free = [_available(), _left_in_group()]
    known = [value for value in free if value is not None]
    return FreeMemory(min(known), "this machine") if known else None


def _available() -> int | None:
    """Bytes that Linux could give to a new process."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return found[0] << 10 if found else None


def _left_in_group() -> int | None:
    """Bytes up to the limit of a container."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = (group / "memory.current").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return max(0, int(limit) - int(used)) if limit.isdigit() and used.isdigit() else None


# -- a step without values -----------------------------------------------------------------------------------


def step_bytes(model: Learner, batch_size: int, precision: str = "32-true") -> int | None:
    """Largest number of bytes that are alive at a time in a training step, with weights and Adam's averages.

    Args:
        model: the learner; it is not changed.
        batch_size: images per step.
        precision: "bf16-mixed" and "16-mixed" keep activations in 16 bits, "bf16-true" and "16-true" all.

    Returns:
        None if a step cannot be run without values.
    """
    mode = FakeTensorMode()
    memo: dict[int, Any] = {
        id(parameter): nn.Parameter(mode.from_tensor(parameter.detach()), parameter.requires_grad)
        for parameter in model.parameters()
    }
    memo |= {id(buffer): mode.from_tensor(buffer) for buffer in model.buffers()}
    try:
        shadow = copy.deepcopy(model, memo)
        shadow.train()
        with mode:
            step = _detached(shadow)
            batch = _batch(batch_size, shadow.size_hw)
            alive = _Alive(tensor for group in (shadow.parameters(), shadow.buffers()) for tensor in group)
            # On the CPU, as tensors without values need no GPU; the sizes are the same.
            mixed = torch.autocast("cpu", torch.bfloat16, enabled=precision.endswith("-mixed"))
            with alive, mixed:
                step(batch)
    except Exception as error:  # a step may do anything, and a training says itself what is wrong with it
        log.info(f"the memory of a step of {model.name} is not known ({type(error).__name__}: {error})")
        return None
    trained = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    total = alive.most + 2 * trained
    return total // 2 if precision in ("bf16-true", "16-true") else total


def _batch(count: int, size_hw: tuple[int, int]) -> Batch:
    image = torch.zeros(count, 3, *size_hw, dtype=torch.uint8)
    mask = torch.ones(count, 1, *size_hw, dtype=torch.uint8)
    number = torch.zeros(count, dtype=torch.int64)
    return Batch(image=image, roi_mask=mask, gt_mask=mask.clone(), label=number, index=number)


def _detached(model: Learner) -> Callable[[Batch], None]:
    """A function that runs forward and backward passes of a step without Lightning's trainer."""
    trainer: Any = SimpleNamespace(
        current_epoch=0,
        global_step=0,
        global_rank=0,
        world_size=1,
        check_val_every_n_epoch=1,
        sanity_checking=False,
        callback_metrics={},
    )
    model._trainer = trainer
    asked = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def toggle(optimizer: torch.optim.Optimizer) -> None:
        own = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        for parameter in asked:
            parameter.requires_grad_(id(parameter) in own)

    def untoggle(optimizer: torch.optim.Optimizer) -> None:
        for parameter in asked:
            parameter.requires_grad_(True)

    def nothing(*_: Any, **__: Any) -> None:
        pass

    # In the instance's own dictionary, so that the class stays as it is.
    replaced: dict[str, Any] = {
        "log": nothing,
        "log_dict": nothing,
        "manual_backward": lambda loss, *_, **__: loss.backward(),
        "toggle_optimizer": toggle,
        "untoggle_optimizer": untoggle,
    }
    if not model.automatic_optimization:
        optimizers = _optimizers(model.configure_optimizers())
        for optimizer in optimizers:
            # Its averages are counted by themselves.
            vars(optimizer)["step"] = nothing
        replaced["optimizers"] = lambda *_, **__: optimizers if len(optimizers) > 1 else optimizers[0]
    vars(model).update(replaced)

    def step(batch: Batch) -> None:
        loss: Any = model.training_step(batch, 0)
        if model.automatic_optimization and loss is not None:
            (loss["loss"] if isinstance(loss, dict) else loss).backward()

    return step


def _optimizers(configured: Any) -> list[torch.optim.Optimizer]:
    """The optimisers in what `configure_optimizers` may return."""
    if isinstance(configured, tuple) and len(configured) == 2 and isinstance(configured[0], list):
        configured = configured[0]
    several = configured if isinstance(configured, list | tuple) else [configured]
    return [one["optimizer"] if isinstance(one, dict) else one for one in several]


class _Alive(TorchDispatchMode):
    """Counts the bytes of all storages while they are alive.

    Attributes:
        most: the largest number so far.
    """

    def __init__(self, present: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = self._now = 0
        self._known: set[int] = set()
        for tensor in present:
            self._add(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self._add(value)
        return out

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        count = storage.nbytes()
        self._known.add(key)
        self._now += count
        self.most = max(self.most, self._now)
        weakref.finalize(storage, self._drop, key, count)

    def _drop(self, key: int, count: int) -> None:
        self._known.discard(key)
        self._now -= count

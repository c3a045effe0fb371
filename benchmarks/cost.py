"""The cost of GRD-Net: operations, share of the machine's convolution rate, Perlin noise against anomalib's.

    python benchmarks/cost.py            # prints and records the result
    python benchmarks/cost.py counted    # memory and operations of a step of the preset "paper"
    python benchmarks/cost.py memory     # its memory in one real step, beside the count
    python benchmarks/cost.py paper      # its time on the CPU, beside DRAEM's
    python benchmarks/cost.py compiled   # a step of the default with and without torch.compile
    python benchmarks/cost.py --tables   # puts the results into docs/benchmarks.md and docs/grdnet.md

Memory is counted, not measured: the peak of a step on tensors without values, with weights, gradients and
Adam's moments (`training.memory_need.step_bytes`). Time and the peak of resident memory are those of real
steps on the CPU. All other figures are ratios of measurements that alternate within one run, as machines
differ and drift. The comparison with anomalib needs ``pip install 'roinspect[peers]'``.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from results import NotMeasuredError, Results, where
from tables import markdown, put
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from roinspect.data.augment import random_light, random_rotation
from roinspect.data.loader import Batch
from roinspect.methods.grdnet import GrdNet
from roinspect.methods.grdnet_settings import GrdNetSettings
from roinspect.nn.perlin import perlin_noise, perturb
from roinspect.training.memory_need import step_bytes

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Results("cost")
DOCS = ROOT / "docs" / "benchmarks.md"
BATCH, SIDE, ROUNDS = 8, 256, 7


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def flops(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def convolution() -> Callable[[], object]:
    """A 3 x 3 convolution of 64 channels, forward and backward, channels last: the machine's peak."""
    x = torch.randn(BATCH, 64, 64, 64).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(64, 64, 3, 3).contiguous(memory_format=torch.channels_last).requires_grad_()

    def work() -> None:
        for _ in range(4):
            F.conv2d(x, weight, padding=1).sum().backward()

    return work


class Step:
    """The computations of a training step without Lightning: the same calls as in `GrdNet.training_step`."""

    def __init__(self, settings: GrdNetSettings, batch: int = BATCH) -> None:
        self.count = batch
        self.model = GrdNet(settings, (SIDE, SIDE)).train()
        self.optimizers, _ = self.model.configure_optimizers()
        rows = np.random.default_rng(0).integers(0, 256, (64, SIDE, SIDE, 3), dtype=np.uint8)
        self.rows, self.random = rows, torch.Generator().manual_seed(0)

    def load(self) -> Batch:
        picked = self.rows[np.random.default_rng(1).permutation(64)[: self.count]]
        masks = torch.ones(self.count, 1, SIDE, SIDE, dtype=torch.uint8)
        image = torch.from_numpy(picked).permute(0, 3, 1, 2)
        return Batch(image, masks, masks, torch.zeros(self.count), torch.zeros(self.count)).to_float()

    def perturb(self) -> tuple[torch.Tensor, torch.Tensor]:
        return perturb(self.batch.image, generator=self.random, sources=self.model.settings.sources)

    def augment(self) -> None:
        s = self.model.settings
        image, _ = random_rotation(
            self.batch.image, self.batch.roi_mask, degrees=s.rotation, generator=self.random
        )
        random_light(image, amount=s.light, generator=self.random)

    def __call__(self) -> None:
        model = self.model
        self.batch = self.load()
        self.augment()
        noisy, mask = self.perturb()
        generator, discriminator, segmenter = self.optimizers
        for parameter in model.discriminator.parameters():
            parameter.requires_grad_(False)
        repaired, losses = model._generator_losses(noisy, self.batch.image, mask)
        self.update(generator, losses["generator"])
        for parameter in model.discriminator.parameters():
            parameter.requires_grad_(True)
        repaired = repaired.detach()
        self.update(discriminator, model._discriminator_loss(self.batch.image, repaired))
        losses = model._segmenter_losses(noisy, repaired, mask, self.batch.roi_mask)
        self.update(segmenter, losses["segmenter"])

    @staticmethod
    def update(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def peers_perlin() -> Callable[[], object] | None:
    try:
        from anomalib.data.utils.generators.perlin import generate_perlin_noise
    except ImportError:
        return None
    return lambda: [generate_perlin_noise(SIDE, SIDE) for _ in range(BATCH)]


def measure() -> dict[str, Any]:
    torch.manual_seed(0)
    step, conv = Step(GrdNetSettings()), convolution()
    graph = step.model.inspection_graph().eval()
    image = torch.rand(1, 3, SIDE, SIDE)
    with torch.inference_mode():
        forward_flops = flops(lambda: graph(image))
    step(), conv()
    step_flops, conv_flops = flops(step), flops(conv)
    random, peer = torch.Generator().manual_seed(0), peers_perlin()
    works: dict[str, Callable[[], object]] = {
        "conv": conv,
        "step": step,
        "perturb": step.perturb,
        "load": step.load,
        "perlin": lambda: perlin_noise(BATCH, SIDE, SIDE, generator=random),
    }
    if peer is not None:
        works["anomalib_perlin"] = peer
    for work in works.values():
        work()
    rounds = [{name: timed(work) for name, work in works.items()} for _ in range(ROUNDS)]

    def median(ratio: Callable[[dict[str, float]], float]) -> float:
        return statistics.median(ratio(times) for times in rounds)

    result = {
        "forward_gflop_per_image": forward_flops / 1e9,
        "step_gflop_per_image": step_flops / BATCH / 1e9,
        "step_seconds_per_image": median(lambda t: t["step"] / BATCH),
        "convolution_gflop_per_second": median(lambda t: conv_flops / t["conv"] / 1e9),
        "step_share_of_convolution_rate": median(lambda t: step_flops / t["step"] / (conv_flops / t["conv"])),
        "perturb_share_of_step": median(lambda t: t["perturb"] / t["step"]),
        "load_share_of_step": median(lambda t: t["load"] / t["step"]),
        "perlin_maps_per_second": median(lambda t: BATCH / t["perlin"]),
    }
    if peer is not None:
        result["perlin_times_faster_than_anomalib"] = median(lambda t: t["anomalib_perlin"] / t["perlin"])
    return result


PAIR = 2
"""Images in the steps that are timed beside DRAEM's, which takes long on a CPU."""


def draem_step() -> Callable[[], object] | None:
    """A step of anomalib's DRAEM: its networks, loss and optimiser, on the noise of GRD-Net's step."""
    try:
        from anomalib.models.image.draem.loss import DraemLoss
        from anomalib.models.image.draem.torch_model import DraemModel
    except ImportError:
        return None

    model, loss = DraemModel().train(), DraemLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    image = torch.rand(PAIR, 3, SIDE, SIDE)
    random = torch.Generator().manual_seed(0)

    def work() -> None:
        noisy, mask = perturb(image, generator=random)
        repaired, prediction = model(noisy)
        optimizer.zero_grad()
        loss(image, repaired, mask, prediction).backward()
        optimizer.step()

    return work


def paper_settings() -> GrdNetSettings:
    """Without the paper's schedule, which needs a trainer."""
    return dataclasses.replace(GrdNetSettings.preset("paper"), schedule="cosine")


def measure_counted() -> dict[str, Any]:
    """Nothing is computed: tensors have a shape but no values."""
    model = GrdNet(paper_settings(), (SIDE, SIDE))
    counted = {
        f"{precision}, batch {batch}": step_bytes(model, batch, precision)
        for batch in (8, 16)
        for precision in ("32-true", "bf16-mixed")
    }
    result: dict[str, Any] = {
        "bytes": counted,
        "parameters": sum(weight.numel() for weight in model.parameters()),
    }
    result["step_gflop_per_image"] = flops_without_values(Step(paper_settings(), PAIR)) / PAIR / 1e9
    return result


def flops_without_values(step: Step) -> int:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    memo: dict[int, Any] = {
        id(weight): torch.nn.Parameter(mode.from_tensor(weight.detach()))
        for weight in step.model.parameters()
    }
    memo |= {id(buffer): mode.from_tensor(buffer) for buffer in step.model.buffers()}
    step.model = copy.deepcopy(step.model, memo)
    # Adam has no products.
    idle = SimpleNamespace(zero_grad=lambda: None, step=lambda: None)
    step.optimizers = [idle] * len(step.optimizers)
    with mode:
        return flops(step)


def counted_table() -> str:
    run = RESULTS.latest(verb="counted")
    result = run.measures
    rows = [
        (f"memory of a step, {name}", f"{value / 1e9:.2f} GB" if value else "–")
        for name, value in result["bytes"].items()
    ]
    rows += [
        ("weights of all networks", f"{result['parameters'] / 1e6:.1f} million"),
        ("training step, per image", f"{result['step_gflop_per_image']:.0f} GFLOP"),
    ]
    return f"{markdown(('preset `paper`, 256 x 256', 'counted'), rows)}\n\n{where([run])}"


def measure_paper() -> dict[str, Any]:
    torch.manual_seed(0)
    step, draem = Step(paper_settings(), PAIR), draem_step()
    step()
    if draem is None:
        seconds = [timed(step) / PAIR for _ in range(3)]
        return {"step_seconds_per_image": statistics.median(seconds)}
    # Counted in its first step, which is not timed.
    draem_flops = flops(draem)
    rounds = [(timed(step), timed(draem)) for _ in range(3)]
    return {
        "step_seconds_per_image": statistics.median(own / PAIR for own, _ in rounds),
        "draem_times_longer": statistics.median(other / own for own, other in rounds),
        "draem_gflop_per_image": draem_flops / PAIR / 1e9,
    }


def paper_table() -> str:
    run = RESULTS.latest(verb="paper")
    result = run.measures
    rows = [("training step, per image", f"{result['step_seconds_per_image']:.2f} s")]
    if "draem_times_longer" in result:
        rows.append(("DRAEM's, of GRD-Net's time", f"{result['draem_times_longer']:.2f}"))
        rows.append(("DRAEM's operations, per image", f"{result['draem_gflop_per_image']:.0f} GFLOP"))
    heads = (f"preset `paper`, 256 x 256, in steps of {PAIR}", "on the CPU")
    return f"{markdown(heads, rows)}\n\n{where([run])}"


def measure_memory() -> dict[str, Any]:
    """The memory of the first step of this process, and what was counted for it."""
    torch.manual_seed(0)
    paper = paper_settings()
    counted = step_bytes(GrdNet(paper, (SIDE, SIDE)), PAIR)
    before = resident_bytes()
    Step(paper, PAIR)()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return {"counted": counted, "resident": peak - before}


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def memory_table() -> str:
    run = RESULTS.latest(verb="memory")
    result = run.measures
    heads = [f"preset `paper`, one step of {PAIR} on the CPU", "counted", "rise of resident memory"]
    row = ["float32", *(f"{result[name] / 1e9:.2f} GB" for name in ("counted", "resident"))]
    return f"{markdown(heads, [row])}\n\n{where([run])}"


def measure_compiled() -> dict[str, Any]:
    """Steps of the default in turns; the first of the compiled ones includes the compilation."""
    plain, compiled = Step(GrdNetSettings()), Step(GrdNetSettings(compile=True))
    compiled.model.on_fit_start()
    plain()
    first = timed(compiled)
    rounds = [(timed(plain), timed(compiled)) for _ in range(ROUNDS)]
    return {
        "first_seconds": first,
        "step_seconds_per_image": statistics.median(own / BATCH for own, _ in rounds),
        "compiled_share": statistics.median(other / own for own, other in rounds),
    }


def compiled_table() -> str:
    run = RESULTS.latest(verb="compiled")
    result = run.measures
    heads = [f"default, {SIDE} x {SIDE}, batch {BATCH}, on the CPU", "time of a step, of that without"]
    heads.append("first step, with the compilation")
    row = ["`--method.compile true`", f"{result['compiled_share']:.2f}", f"{result['first_seconds']:.0f} s"]
    return f"{markdown(heads, [row])}\n\n{where([run])}"


MEASURES = {
    "counted": measure_counted,
    "memory": measure_memory,
    "paper": measure_paper,
    "compiled": measure_compiled,
}


def table() -> str:
    if not (runs := [run for run in RESULTS.read() if "verb" not in run.settings]):
        raise NotMeasuredError
    run = runs[-1]
    result = run.measures
    percent = "{:.1%}".format
    rows = [
        ("forward, one 256 x 256 image", f"{result['forward_gflop_per_image']:.2f} GFLOP", "at most 12"),
        ("training step, per image", f"{result['step_gflop_per_image']:.1f} GFLOP", ""),
        ("training step, per image", f"{result['step_seconds_per_image']:.3f} s", ""),
        ("convolution rate of the machine", f"{result['convolution_gflop_per_second']:.0f} GFLOP/s", ""),
        ("step's share of that rate", percent(result["step_share_of_convolution_rate"]), "at least 50 %"),
        ("`perturb`'s share of a step", percent(result["perturb_share_of_step"]), "under 3 %"),
        ("loading's share of a step", percent(result["load_share_of_step"]), "under 5 %"),
        ("Perlin maps of 256 x 256", f"{result['perlin_maps_per_second']:.0f} per second", ""),
    ]
    if "perlin_times_faster_than_anomalib" in result:
        rows.append(
            ("against anomalib's generator", f"{result['perlin_times_faster_than_anomalib']:.1f} x", "")
        )
    return f"{markdown(('what', 'measured', 'goal'), rows)}\n\n{where([run])}"


TABLES = {"cost": table}
ALSO = {
    ROOT / "docs" / "grdnet.md": {
        "paper-counted": counted_table,
        "paper-cost": paper_table,
        "paper-memory": memory_table,
        "compiled": compiled_table,
    }
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", nargs="?", choices=[*MEASURES])
    parser.add_argument("--tables", action="store_true", help="only write the tables into the docs")
    arguments = parser.parse_args()
    if arguments.tables:
        put(DOCS, TABLES)
        for page, tables in ALSO.items():
            put(page, tables)
        return
    if arguments.verb is None:
        RESULTS.append({}, measure())
        print(table())
        return
    run = RESULTS.append({"verb": arguments.verb}, MEASURES[arguments.verb](), seed=0)
    print(run.measures)


if __name__ == "__main__":
    main()

"""The whole workflow on a synthetic product: images, training, threshold, report and one verdict."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from roinspect.data.records import Record, read_records
from roinspect.errors import UserError
from roinspect.evaluation.evaluate import REPORT, evaluate
from roinspect.evaluation.wording import verdict_sentences
from roinspect.images.pixels import write_image
from roinspect.inspection.inspector import Inspector
from roinspect.methods.method import method_class
from roinspect.methods.registry import DEFAULT
from roinspect.synthetic.products import write_dataset
from roinspect.training.settings import TrainingSettings
from roinspect.training.train import train

COUNT, SIZE_HW, SEED = 160, (256, 256), 0
SETTINGS = TrainingSettings(size="256")
SHOWN = "scratch_inside"
"""Category of the image inspected at the end."""

PHOTOGRAPHS, MODEL, RUN, EVALUATION, PICTURES = "zipper", "model", "model.run", "evaluation", "pictures"


def demo(
    out: Path,
    *,
    training: TrainingSettings = SETTINGS,
    count: int = COUNT,
    size_hw: tuple[int, int] = SIZE_HW,
    overwrite: bool = False,
) -> None:
    """Generate images of zippers, train the compact model on them, measure it, and inspect one image.

    Args:
        out: a new or empty folder, or with `overwrite` one of an earlier demo.
        training: image size, steps and other settings.
        count: number of images.
        size_hw: their height and width.
        overwrite: replace an earlier demo.

    Raises:
        UserError: the folder is not empty or cannot be written.
    """
    _make_room(out, overwrite=overwrite)
    console, start = Console(), time.perf_counter()
    data, model, evaluation = out / PHOTOGRAPHS, out / MODEL, out / EVALUATION

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    say("[bold]1[/]  Generating a synthetic product: zippers on cloth, of which only the teeth matter")
    write_dataset("zipper", data, count=count, seed=SEED, size_hw=size_hw)
    say(f"   {count} photographs in {escape(str(data))}; the masks in roi/ mark the teeth in white")

    say(f"[bold]2[/]  Training {DEFAULT} on the good photographs, at {training.size} pixels")
    settings_class: Any = method_class(DEFAULT).settings_class
    settings = settings_class.preset("compact")
    bundle = train(DEFAULT, data, model, method_settings=settings, training=training)
    say(f"   the model is in {escape(str(model))}")

    say("[bold]3[/]  Setting the threshold on good parts held out of training")
    say(f"   {bundle.threshold.value:.4g}: {bundle.threshold.origin}")

    say("[bold]4[/]  Measuring on the test photographs")
    values = evaluate(model, data, evaluation)
    for sentence in verdict_sentences(values):
        say(f"   {sentence}")
    say(f"   Inside the region: image AUROC {values.image_auroc:.3f}, pixel AUROC {values.pixel_auroc:.3f}")

    part = _defective(read_records(data))
    say(f"[bold]5[/]  Inspecting one image, without a mask: {escape(str(part.image_path))}")
    verdict = Inspector.load(model).inspect(part.image_path)
    picture = out / PICTURES / f"{part.category}_{part.image_path.stem}.png"
    assert verdict.image is not None
    write_image(picture, verdict.overlay())
    colours = {"good": "green", "defective": "red"}
    words = f"[bold {colours.get(str(verdict.verdict), 'yellow')}]{verdict.verdict}[/]"
    say(f"   verdict {words}: score {verdict.pred_score:.4g}, threshold {verdict.threshold:.4g}")

    say(f"[bold]Done[/] in {time.perf_counter() - start:.0f} s. Look at:")
    for path in (evaluation / REPORT, picture, data):
        say(f"   {escape(str(path))}")


def _make_room(out: Path, *, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite or not (out / PHOTOGRAPHS).is_dir():
        raise UserError(
            "exists and is not empty" if not overwrite else "is not an earlier demo",
            where=out,
            remedy="name another --out"
            + ("" if overwrite else ", or pass --overwrite to replace an earlier demo"),
        )
    for name in (PHOTOGRAPHS, MODEL, RUN, EVALUATION, PICTURES):
        shutil.rmtree(out / name, ignore_errors=True)


def _defective(records: list[Record]) -> Record:
    """The first test photograph of the category `SHOWN`."""
    return next(record for record in records if record.split == "test" and record.category == SHOWN)

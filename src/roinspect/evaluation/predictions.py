"""Bare images to plain verdicts, and pictures of what was found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from roinspect.data.records import find_images
from roinspect.evaluation.overlay import grey_map, overlay
from roinspect.inspector import Inspector, Verdict
from roinspect.pixels import write_image


def predictions(
    inspector: Inspector, images: Iterable[Path], *, overlays: Path | None = None, maps: Path | None = None
) -> Iterator[dict[str, Any]]:
    """Inspect files, in order.

    Args:
        inspector: the model.
        images: files, or folders that stand for the images below them; one named twice is inspected once.
        overlays: folder for pictures of what was found, `NAME_overlay.png`; None writes none.
        maps: folder for the anomaly maps at the images' own sizes, `NAME_map.png`, 16-bit grey; None writes
            none.

    Yields:
        Values for JSON: `image_path`, `pred_score`, `is_defect`, `threshold`, `regions` as `Region.to_dict`,
        and where they were asked for `overlay`, `map` (paths) and `map_factor`: the map's value is the grey
        value times that. For an image that cannot be inspected: `image_path` and `error`.

    Raises:
        UserError: a picture cannot be written.
    """
    names = _named(images)
    for verdict in inspector.inspect_many(names):
        line: dict[str, Any] = {"image_path": verdict.image_path}
        if verdict.error is not None:
            yield line | {"error": verdict.error}
            continue
        line |= {"pred_score": verdict.pred_score, "is_defect": verdict.is_defect}
        line["threshold"] = verdict.threshold
        line["regions"] = [region.to_dict() for region in verdict.regions]
        yield line | _write_pictures(verdict, names[Path(verdict.image_path)], overlays, maps)


def _write_pictures(verdict: Verdict, name: Path, overlays: Path | None, maps: Path | None) -> dict[str, Any]:
    assert verdict.image is not None and verdict.anomaly_map is not None
    written: dict[str, Any] = {}
    # Never a photograph's own name: the pictures may go into the photographs' folder.
    if overlays:
        path = overlays / name.with_name(f"{name.name}_overlay.png")
        write_image(path, overlay(verdict.image, verdict.anomaly_map, level=verdict.map_level))
        written["overlay"] = str(path)
    if maps:
        path = maps / name.with_name(f"{name.name}_map.png")
        grey, factor = grey_map(verdict.anomaly_map)
        write_image(path, grey)
        written |= {"map": str(path), "map_factor": factor}
    return written


def _named(images: Iterable[Path]) -> dict[Path, Path]:
    """Every image with a name of its own for its pictures, without suffix."""
    names: dict[Path, Path] = {}
    taken: set[Path] = set()
    for given in images:
        for image in (find_images(given) if given.is_dir() else []) or [given]:
            if image in names:
                continue
            plain = (image.relative_to(given) if image != given else Path(image.name)).with_suffix("")
            name, number = plain, 1
            while name in taken:
                number += 1
                name = plain.with_name(f"{plain.name}_{number}")
            taken.add(name)
            names[image] = name
    return names

"""The folder of a training run, next to the bundle: settings and resuming."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from roinspect.data.annotations.drawn import MaskSource
from roinspect.data.dataset import DecodedCache
from roinspect.errors import UserError
from roinspect.files import read_file, remove_unfinished, sha256, whole_file


def prepare_run(run: Path, settings: Mapping[str, Any], *, resume: bool) -> Path | None:
    """Create the folder of a run, or find the checkpoint to resume from.

    Returns:
        The checkpoint, or None to start from scratch.

    Raises:
        UserError: the run to resume had other settings, or the folder is not of a run or cannot be written.
    """
    settings_file, checkpoint = run / "settings.json", run / "last.ckpt"
    content = json.loads(json.dumps(settings))
    try:
        if resume and settings_file.is_file():
            before = json.loads(settings_file.read_bytes())
            if before != content:
                raise UserError(
                    f"the run had other settings: {', '.join(sorted(_differences(before, content)))}",
                    where=settings_file,
                    remedy="resume with the same settings and data, or start over without --resume",
                )
            remove_unfinished(run)
            return checkpoint if checkpoint.is_file() else None
        if run.exists() and not settings_file.is_file() and (not run.is_dir() or any(run.iterdir())):
            raise UserError(
                "is no training run and is not overwritten", where=run, remedy="choose another --out"
            )
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(parents=True)
        with whole_file(settings_file) as partial:
            partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror})", where=run, remedy="choose another --out"
        ) from error
    except ValueError:
        raise UserError("is damaged", where=settings_file, remedy="start over without --resume") from None
    return None


def refuse_differences(first: Mapping[str, Any], own: Mapping[str, Any], *, rank: int) -> None:
    """Raise a UserError if this process would train something else than the first process."""
    if first != own:
        raise UserError(
            f"not the same as in the first process: {', '.join(sorted(_differences(first, own)))}",
            where=f"process {rank}",
            remedy="give all machines the same command, photographs, masks and version of roinspect",
        )


def fingerprints_of(*caches: DecodedCache) -> dict[str, str]:
    """Fingerprints of the photographs and ROI masks of a training, see `fingerprint`.

    They do not depend on which photographs are held out.
    """
    rows = [row for cache in caches for row in zip(cache.records, cache.digests, strict=True)]
    rows.sort(key=lambda row: row[0].key)
    return {
        "data": _combined(digest for _, digest in rows),
        "roi": fingerprint((record.roi_path for record, _ in rows), _mask_digests(caches)),
    }


def _mask_digests(caches: Iterable[DecodedCache]) -> dict[MaskSource, str]:
    return {source: digest for cache in caches for source, digest in cache.mask_digests.items()}


def fingerprint(sources: Iterable[MaskSource | None], known: Mapping[MaskSource, str] | None = None) -> str:
    """SHA-256 of the contents of files and drawings, in order; "none" if there are none.

    Args:
        sources: the files and drawings.
        known: digests that are already computed; the other sources are read.
    """
    present = [source for source in sources if source is not None]
    if not present:
        return "none"
    # A mask shared by many images is read only once.
    digests = dict(known or {})
    for source in dict.fromkeys(present):
        if source not in digests:
            digests[source] = sha256(_content(source))
    return _combined(digests[source] for source in present)


def _combined(digests: Iterable[str]) -> str:
    return sha256(map(bytes.fromhex, digests))


def _content(source: MaskSource) -> bytes:
    return read_file(source) if isinstance(source, Path) else source.content()


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name in before.keys() | now.keys():
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name}"

"""A data set, read once: its records and how they were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from roinspect.data.paths import Listing
from roinspect.data.records import Record, read_records, refuse_unknown_good


@dataclass(frozen=True, slots=True)
class Data:
    """A data set and the options it was read with.

    Attributes:
        path: the folder or manifest.
        records: one per photograph, sorted by key.
        roi: where the ROI masks are: "none", "auto", "column:NAME", "segmenter:BUNDLE", a folder, an image
            file or an annotation file; see `attach_roi`.
        columns: the manifest's own column names.
        good: names of folders or labels that mean good; None for the default names.
        listing: listing of the folder.
    """

    path: Path
    records: list[Record]
    roi: str
    columns: Mapping[str, str]
    good: Sequence[str] | None
    listing: Listing

    def split(self, name: str) -> list[Record]:
        """The records of one split."""
        return [record for record in self.records if record.split == name]

    def not_test(self) -> list[Record]:
        """The records of the train and val splits."""
        return [record for record in self.records if record.split != "test"]


def read_data(
    path: Path | str,
    roi: str = "auto",
    columns: Mapping[str, str] | None = None,
    good: Sequence[str] | None = None,
    *,
    usual_good: Sequence[str] | None = None,
) -> Data:
    """List a data set's folder and read its records; no photograph is opened.

    Args:
        path: a folder or a manifest, as for `read_records`.
        roi: where the ROI masks are; not read until `attach_roi`.
        columns: the manifest's own column names.
        good: category or label names that mean good; each must exist.
        usual_good: used if `good` is None; these names need not exist.

    Raises:
        UserError: same as `read_records`, or a name in `good` matches no folder or label.
    """
    listing = Listing()
    records = read_records(path, columns=columns, good=good or usual_good, listing=listing)
    refuse_unknown_good(records, good)
    return Data(Path(path), records, roi, columns or {}, good, listing)

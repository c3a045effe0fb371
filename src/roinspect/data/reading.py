"""A data set, read once: its records, and what else the verbs ask of its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from roinspect.data.paths import Listing
from roinspect.data.records import Record, read_records, refuse_unknown_good


@dataclass(frozen=True, slots=True)
class Data:
    """A data set as it was read.

    Attributes:
        path: the folder or manifest.
        records: of every photograph, sorted by key.
        roi: where the ROI masks are: "none", "auto", "column:NAME", "segmenter:BUNDLE", a folder, an image
            file or an annotation file, as `find_roi` and `with_roi` take it.
        columns: the manifest's own column names.
        good: names of good parts' folders or labels that were asked for; None for the usual ones.
        listing: of its folder.
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
        path: a folder or a manifest, as `read_records` takes it.
        roi: where the ROI masks are; looked for when a record is given its own.
        columns: the manifest's own column names.
        good: category or label names that mean good; each must be there.
        usual_good: names that mean good where `good` is None; they need not be there.

    Raises:
        UserError: as `read_records`, or no folder or label has a name in `good`.
    """
    listing = Listing()
    records = read_records(path, columns=columns, good=good or usual_good, listing=listing)
    refuse_unknown_good(records, good)
    return Data(Path(path), records, roi, columns or {}, good, listing)

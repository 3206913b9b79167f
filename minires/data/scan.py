"""A look at all pictures before the first epoch, so that bad files and leaks between splits are known early."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from minires.data.files import FileDataset
from minires.data.images import ImageHeader, read_header
from minires.data.reading import read_bytes
from minires.errors import DataError

MOST_NAMES = 3  # files named on one line of the report
UPRIGHT = 1  # EXIF orientation of a picture that need not be turned


@dataclass
class ScanReport:
    """What a scan found. Files are named by their paths; `to_dict()` is JSON-able."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)  # split -> class -> pictures ("" for regression)
    pictures: dict[str, int] = field(default_factory=dict)  # split -> pictures, which may have several classes each
    unreadable: dict[str, str] = field(default_factory=dict)  # file -> reason
    modes: dict[str, int] = field(default_factory=dict)
    formats: dict[str, int] = field(default_factory=dict)
    orientations: dict[int, int] = field(default_factory=dict)  # EXIF orientation -> pictures
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)  # "smallest", "median", "largest" -> width, height
    duplicates: list[list[str]] = field(default_factory=list)  # the same bytes in more than one split
    conflicts: list[list[str]] = field(default_factory=list)  # the same bytes under more than one label
    verified: bool = False

    @property
    def missing_classes(self) -> dict[str, list[str]]:
        """Split -> classes without a picture there."""
        missing = {}
        for split, counts in self.counts.items():
            names = [name for name, count in counts.items() if count == 0]
            if names:
                missing[split] = names
        return missing

    @property
    def empty_classes(self) -> list[str]:
        """Classes without a picture in any split."""
        total: Counter[str] = Counter()
        for counts in self.counts.values():
            total.update(counts)
        return [name for name, count in total.items() if count == 0]

    def check(self, on_bad_image: str = "error") -> None:
        """Raise DataError that names the first unreadable picture, unless `on_bad_image` is "skip"."""
        if self.unreadable and on_bad_image != "skip":
            path, *rest = self.unreadable
            reason = self.unreadable[path]
            others = f" (and {len(rest)} more unreadable: {_few(rest)})" if rest else ""
            hint = "mend or remove the file, or have such pictures skipped: --on-bad-image skip (on_bad_image='skip')"
            raise DataError(reason + others, code="data.unreadable_image", file=path, hint=hint)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain dictionaries and lists."""
        result = asdict(self)
        result["orientations"] = {str(key): count for key, count in self.orientations.items()}
        result["sizes"] = {name: list(size) for name, size in self.sizes.items()}
        return {**result, "missing_classes": self.missing_classes, "empty_classes": self.empty_classes}

    def lines(self) -> list[str]:
        """The report in a few plain lines."""
        lines = []
        for split, counts in self.counts.items():
            line = f"{split}: {self.pictures.get(split, sum(counts.values()))} pictures"
            if list(counts) != [""]:
                least, most = min(counts.values()), max(counts.values())
                each = f"{least} to {most}" if least < most else f"{least}"
                line += f", {len(counts)} classes ({each} pictures each)"
            if split in self.missing_classes:
                line += f", none of {_few(self.missing_classes[split], most=10)}"
            lines.append(line)
        if self.empty_classes:
            lines.append(f"warning: no picture at all of {_few(self.empty_classes, most=10)}, which cannot be learned")
        if self.sizes:
            small, middle, large = (f"{w} x {h}" for w, h in (self.sizes[k] for k in ("smallest", "median", "largest")))
            extent = f"sizes {small} to {large}, median {middle}"
            lines.append(f"{extent}; modes {_tally(self.modes)}; formats {_tally(self.formats)}")
        turned = sum(count for orientation, count in self.orientations.items() if orientation != UPRIGHT)
        if turned:
            lines.append(f"{turned} pictures lie on their side or are mirrored by EXIF orientation")
        if self.unreadable:
            lines.append(f"unreadable: {len(self.unreadable)} ({_few(list(self.unreadable.values()))})")
        findings = (("in more than one split", self.duplicates), ("with more than one label", self.conflicts))
        for where, groups in findings:
            if groups:
                equal = _few([" = ".join(group) for group in groups])
                lines.append(f"the same picture {where}: {len(groups)} ({equal})")
        return lines


def scan(
    splits: Mapping[str, Any] | Any, verify: bool = False, duplicates: bool = True, num_workers: int | None = None
) -> ScanReport:
    """Look at every picture of the splits (name -> data set; one data set alone is called "data").

    Reads the headers only, unless `verify` decodes every picture, the only way to find one that breaks off in the
    midst. `duplicates`: compare files of equal size by a hash of their content. Data sets in memory are only counted.
    Nothing is raised for a bad picture: it is in `unreadable`, for `check` or `FileDataset.exclude`.
    """
    if not isinstance(splits, Mapping):
        splits = {"data": splits}
    report = ScanReport(counts={name: count_classes(dataset) for name, dataset in splits.items()}, verified=verify,
                        pictures={name: len(dataset) for name, dataset in splits.items()})  # fmt: skip
    samples = [
        (split, path, dataset.label(target), dataset.loader if verify else None)
        for split, dataset in splits.items()
        for path, target in (dataset.samples if isinstance(dataset, FileDataset) else ())
    ]
    found = parallel_map(_look, [(path, loader) for _, path, _, loader in samples], num_workers)
    good = []
    for (split, path, label, _), result in zip(samples, found, strict=True):
        if isinstance(result, str):
            report.unreadable[path] = result
        else:
            good.append((split, path, label, *result))
    headers = [header for *_, header, _ in good]
    report.modes = dict(Counter(header.mode for header in headers).most_common())
    report.formats = dict(Counter(header.format for header in headers).most_common())
    report.orientations = dict(sorted(Counter(header.orientation for header in headers).items()))
    if headers:
        sizes = [(header.width, header.height) for header in headers]
        by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
        report.sizes = {"smallest": by_area[0], "median": by_area[len(by_area) // 2], "largest": by_area[-1]}
    if duplicates:
        for group in _same_contents([(split, path, label, size) for split, path, label, _, size in good], num_workers):
            paths = [path for _, path, _ in group]
            if len({split for split, _, _ in group}) > 1:
                report.duplicates.append(paths)
            if len({label for _, _, label in group}) > 1:
                report.conflicts.append(paths)
    return report


def parallel_map(function: Callable[[Any], Any], items: list[Any], num_workers: int | None = None) -> list[Any]:
    """`function` of each item, in order, by a few threads; an interrupt does not wait for the rest."""
    workers = num_workers if num_workers is not None else min(8, (os.cpu_count() or 1) * 2)
    if workers <= 1 or len(items) < 2:
        return [function(item) for item in items]
    pool = ThreadPoolExecutor(workers, thread_name_prefix="minires-scan")
    try:
        return list(pool.map(function, items))
    finally:
        pool.shutdown(cancel_futures=True)


def _look(item: tuple[str, Callable[[str], Any] | None]) -> tuple[ImageHeader, int] | str:
    """Header and size in bytes of one file, or why it cannot be read."""
    path, loader = item
    try:
        header = read_header(path)
        if loader is not None:
            loader(path)
        return header, os.stat(path).st_size
    except DataError as error:
        return error.message


def _same_contents(
    files: Iterable[tuple[str, str, str, int]], num_workers: int | None
) -> list[list[tuple[str, str, str]]]:
    """Groups of (split, path, label) whose files hold the same bytes. Only files of equal size are read."""
    by_size: dict[int, list[tuple[str, str, str]]] = {}
    for split, path, label, size in files:
        by_size.setdefault(size, []).append((split, path, label))
    candidates = [entry for group in by_size.values() if len(group) > 1 for entry in group]
    hashes = parallel_map(_content_hash, [path for _, path, _ in candidates], num_workers)
    by_hash: dict[str, list[tuple[str, str, str]]] = {}
    for entry, digest in zip(candidates, hashes, strict=True):
        by_hash.setdefault(digest, []).append(entry)
    return [group for group in by_hash.values() if len(group) > 1]


def _content_hash(path: str) -> str:
    return hashlib.sha256(read_bytes(path)).hexdigest()


def count_classes(dataset: Any) -> dict[str, int]:
    """Class -> number of pictures, in class order; {"": n} where there are no classes."""
    if not dataset.classes:
        return {"": len(dataset)}
    counts = Counter(int(index) for target in dataset.targets for index in (
        target if isinstance(target, tuple) else (target,)))  # fmt: skip
    return {name: counts[index] for index, name in enumerate(dataset.classes)}


def _few(names: list[str], most: int = MOST_NAMES) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _tally(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())

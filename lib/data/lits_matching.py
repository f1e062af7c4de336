"""Which volume belongs to which segmentation and to which split, by patterns of file names (LiTS's by default, the
Decathlon's folders, or guessed ones).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lib import InputError
from lib.data import decathlon, pairing
from lib.data.index import SPLITS
from lib.files import check_path, list_files
from lib.text import pluralize

VOLUMES, SEGMENTATIONS, SPLIT = "**/volume-*", "**/segmentation-*", {"val": 31}  # LiTS: the last 31 of 131
LITS = 131  # volumes of it with labels
SHARES = {"val": 0.1, "test": 0.25}  # of other sets
Patterns = str | Sequence[str] | Mapping[str, str | Sequence[str]] | None
ENDINGS = (".nii.gz", ".nii", ".npy")


class VolumePair(NamedTuple):
    """The two files of a case.

    Parameters
    ----------
    volume : the image
    segmentation : its labels; None if there are none
    id : the case's name
    person : whose it is
    more : the files of the image's further channels; of a file with a fourth axis of channels the same once more each
    """

    volume: Path
    segmentation: Path | None
    id: str
    person: str
    more: tuple[Path, ...] = ()

    @property
    def channels(self) -> list[tuple[Path, int | None]]:
        """The file of each channel, and its place on the fourth axis, None where there is no such axis."""
        files = [self.volume, *self.more]
        one_file = len(files) > 1 and len(set(files)) == 1
        return [(path, c if one_file else None) for c, path in enumerate(files)]


def find(
    source: Path, volume_files: Patterns = None, segmentation_files: str | Mapping[str, str] | None = None,
    split: Mapping[str, Any] | None = None, persons: Mapping[str, str] | None = None,
) -> dict[str, list[VolumePair]]:  # fmt: skip
    """Volumes and the segmentations that belong to them; a test case may lack one.

    In a pattern, `*` is any text within a name, `**/` any folders; without an ending, .nii.gz, .nii and .npy are taken.
    Files whose `*` stand for the same belong together; a case's id is the names that have a `*` (volume-7, case_00001).

    Parameters
    ----------
    source : the folder
    volume_files, segmentation_files : a folder or a pattern such as imagesTr/*_0000.nii.gz each, or {split: pattern}; of
        several channels a list of patterns; None: what `lib.data.decathlon` finds in imagesTr/ and labelsTr/, in other
        folders LiTS's names or, where there are none, what `lib.data.pairing` guesses and this prints
    split : which ids, how many or which share of the persons (the last ones, test behind val), of the train pattern's
        cases go to val and test; a split with a pattern of its own takes none; None: LiTS's last 31 to val, of others a
        tenth of the persons to val and a quarter to test (at least one each, of fewer than four persons none to test)
    persons : {id: person}; else each case is a person

    Returns
    -------
    The cases by split, each split in the order of its numbers.

    Raises
    ------
    InputError
        Naming the file or pattern: no partner, two of one name, nothing found, none left to train on, an unknown id or
        split.
    """
    source = Path(source)
    check_path(source)
    if not source.is_dir():
        raise InputError(source, "no such folder", f"one with volumes named {volume_files}")
    by_folders = volume_files is None and segmentation_files is None and decathlon.is_decathlon(source)
    by_names = False  # whether names say whose a volume is
    if volume_files is None and segmentation_files is None and not by_folders and not _matches(source, VOLUMES):
        volume_files, segmentation_files = _guessed(source)
        by_names = bool(volume_files) and not persons
    of_lits = volume_files is None and not by_folders
    volume_files, segmentation_files = volume_files or VOLUMES, segmentation_files or SEGMENTATIONS
    if isinstance(volume_files, Mapping) != isinstance(segmentation_files, Mapping):
        raise InputError("segmentation_files", f"got {segmentation_files!r}", f"as many as in {volume_files!r}")
    volumes, labels = (p if isinstance(p, Mapping) else {"train": p} for p in (volume_files, segmentation_files))
    for name in (*volumes, *labels, *(split or ())):
        if name not in SPLITS:
            raise InputError("split", f"got {name!r}", f"some of {', '.join(SPLITS)}")
    if by_folders:
        splits = {"train": _decathlon_pairs(source, persons or {})}
    else:
        whose = None if by_names else persons or {}
        splits = {s: _pairs(source, volumes[s], labels.get(s), whose) for s in SPLITS if s in volumes}
    if split is None:
        split = _usual_split(splits.get("train", []), of_lits)
    if "train" in splits:
        splits |= _divided(splits["train"], {s: wanted for s, wanted in split.items() if wanted and s not in splits})
    first: dict[str, Path] = {}
    for name, pairs in splits.items():
        for pair in pairs:
            if first.setdefault(pair.id, pair.volume) != pair.volume:
                raise InputError(pair.volume, f"{first[pair.id]} is {pair.id} too", "different names")
            if name != "test" and not pair.segmentation:
                raise InputError(pair.volume, "no segmentation belongs to it", f"{labels.get(name, labels)}")
    unknown = next((i for i in persons or {} if i not in first), None)
    if unknown is not None:
        raise InputError("persons", f"no volume {unknown!r} in {source}", f"{', '.join(list(first)[:3])} …")
    return {s: splits[s] for s in SPLITS if s in splits}


def _guessed(source: Path) -> tuple[Patterns, str | None]:
    """Patterns that the names of a folder's files suggest, printed; (None, None) where they suggest none."""
    found = pairing.guess(source, ENDINGS)
    if found is None:
        return None, None
    print(f"{source}: images {', '.join(found.images)} and labels {found.labels}, by their names")
    return found.images[0] if len(found.images) == 1 else list(found.images), found.labels


def _usual_split(pairs: list[VolumePair], of_lits: bool) -> dict[str, Any]:
    persons = len({pair.person for pair in pairs})
    if of_lits and persons == LITS:
        return SPLIT
    return SHARES if persons > 3 else {"val": SHARES["val"]}


def _decathlon_pairs(source: Path, persons: Mapping[str, str]) -> list[VolumePair]:
    found = sorted(decathlon.pairs(source).items(), key=lambda item: _numbers(item[0]))
    return [VolumePair(images[0], label, name, persons.get(name, name), images[1:]) for name, (images, label) in found]


def _pairs(
    source: Path, patterns: str | Sequence[str], other: str | None, persons: Mapping[str, str] | None
) -> list[VolumePair]:  # fmt: skip
    """The pairs of one split; persons None: by the names, which is said where they tell that several are of one."""
    pattern, *further = [patterns] if isinstance(patterns, str) else patterns
    if len(further) >= pairing.MOST_CHANNELS:
        raise InputError("volume_files", f"{len(further) + 1} patterns", f"at most {pairing.MOST_CHANNELS} channels")
    labels = _matches(source, other) if other else {}
    both = {path for _, path in labels.values()}  # */*.nii also fits */*_seg.nii
    volumes = {stars: found for stars, found in _matches(source, pattern).items() if found[1] not in both}
    channels = [(p, _matches(source, p)) for p in further]
    for name, matches in channels:
        lost = next((path for stars, (_, path) in volumes.items() if stars not in matches), None)
        if lost:
            raise InputError(lost, "no further channel belongs to it", name)
    if not volumes:
        hint = f"nor is there a folder {decathlon.IMAGES}" if pattern == VOLUMES else ""
        raise InputError(source, f"nothing in it is named {pattern} ({', '.join(ENDINGS)})", hint=hint)
    lost = next((path for stars, (_, path) in labels.items() if stars not in volumes), None)
    if lost:
        raise InputError(lost, "no volume belongs to it", pattern)
    names = {stars: name for stars, (name, _) in volumes.items()}
    whose = pairing.owners(names) if persons is None else {s: persons.get(name, name) for s, name in names.items()}
    if persons is None and (count := len(set(whose.values()))) < len(whose):
        words = f"{len(whose)} volumes of {pluralize(count, 'person')}, by their names"
        print(f"{source}: {words}; `persons` says it otherwise")
    return [
        VolumePair(
            path, labels.get(stars, ("", None))[1], name, whose[stars], tuple(m[stars][1] for _, m in channels)
        )  # fmt: skip
        for stars, (name, path) in sorted(volumes.items(), key=lambda item: [_numbers(text) for text in item[0]])
    ]


def _matches(source: Path, pattern: str) -> dict[tuple[str, ...], tuple[str, Path]]:
    """{what the `*` stand for: (id, file)}; hidden files are left out."""
    pattern = f"{pattern}/*" if (source / pattern).is_dir() else pattern
    ending = next((e for e in ENDINGS if pattern.endswith(e)), "")
    words, named = "", []
    for part in pattern.removesuffix(ending).split("/"):
        text = re.escape(part).replace(r"\*", "([^/]*)")
        named.append("*" in part and part != "**")
        words += "(?:.+/)?" if part == "**" else (f"(?P<name{len(named)}>{text})" if named[-1] else text) + "/"
    ends = "|".join(map(re.escape, [ending] if ending else ENDINGS))
    regex, matches = re.compile(f"{words.removesuffix('/')}(?:{ends})"), {}
    for path in (file.relative_to(source).as_posix() for file in list_files(source, ENDINGS)):
        if match := regex.fullmatch(path):
            whole = set(regex.groupindex.values())
            stars = tuple(text for i, text in enumerate(match.groups(), 1) if i not in whole)
            if stars in matches:
                raise InputError(source / path, f"{matches[stars][1]} has the same name: which one is it?")
            matches[stars] = ("_".join(match.groupdict().values()) or Path(path).name.split(".")[0], source / path)
    return matches


def _numbers(text: str) -> list[tuple[int, str]]:
    return [(int(word), "") if i % 2 else (0, word) for i, word in enumerate(re.split(r"(\d+)", text))]


def _divided(pairs: list[VolumePair], split: dict[str, Any]) -> dict[str, list[VolumePair]]:
    taken, left = {}, list(pairs)
    for name in sorted(
        split, key=lambda s: (isinstance(split[s], int | float), s != "test")
    ):  # ids first, then the last ones
        wanted, ids = split[name], {p.id: p for p in left}
        if isinstance(wanted, bool) or not isinstance(wanted, int | float | list | tuple):
            raise InputError("split", f"{name}: got {wanted!r}", "a number of volumes, a share or a list of their ids")
        if isinstance(wanted, float):
            taken[name] = _share(wanted, pairs, left, name)
        elif isinstance(wanted, int):
            if not 0 <= wanted < len(left):
                raise InputError("split", f"{wanted} for {name} of {len(left)} volumes: none is left to train on")
            taken[name] = left[-wanted:]
        else:
            unknown = next((str(i) for i in wanted if str(i) not in ids), None)
            if unknown is not None:
                raise InputError("split", f"{name}: no volume {unknown!r} is left", f"{', '.join(list(ids)[:3])} …")
            taken[name] = [p for p in left if p.id in map(str, wanted)]
        left = [p for p in left if p not in taken[name]]
    if not left:
        raise InputError("split", f"all {len(pairs)} volumes are in {' and '.join(taken)}: none is left to train on")
    return taken | {"train": left}


def _share(share: float, pairs: list[VolumePair], left: list[VolumePair], name: str) -> list[VolumePair]:
    """The volumes of the last persons of `left` that are a share of all persons, at least one."""
    every, remaining = (list(dict.fromkeys(p.person for p in some)) for some in (pairs, left))
    if not 0 < share < 1:
        raise InputError("split", f"{name}: got {share:g}", "a share above 0 and below 1")
    count = max(1, int(share * len(every) + 1e-9))
    if count >= len(remaining):
        raise InputError(
            "split", f"{share:g} for {name} of {pluralize(len(every), 'person')}: none is left to train on"
        )
    chosen = set(remaining[-count:])
    return [p for p in left if p.person in chosen]

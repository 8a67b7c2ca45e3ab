"""Slices of the test pictures: parts that have something in common which is known beforehand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixloop.data.dataset import Dataset
from pixloop.evaluation.slices.clusters import Clusters, find_clusters
from pixloop.evaluation.slices.facts import Floats, PictureFacts

Bools = NDArray[np.bool_]

#: More sources than this are no few cameras or sites, but names of pictures.
MOST_SOURCES = 20
#: A fact that so large a share of pictures has in common sets no part of them apart.
_LARGEST_SHARE = 0.6
#: What the quarters at both ends of a fact are called, and how a value is written.
_ENDS: Mapping[str, tuple[str, str, str, str]] = {
    "brightness": ("darkest quarter", "brightest quarter", "brightness", "{:.2f}"),
    "contrast": ("quarter with least contrast", "quarter with most contrast", "contrast", "{:.2f}"),
    "sharpness": ("least sharp quarter", "sharpest quarter", "sharpness", ""),
    "megapixels": ("smallest quarter", "largest quarter", "size", "{:.3g} megapixels"),
    "objects": ("quarter with fewest objects", "quarter with most objects", "objects", "{:.0f}"),
    "object size": (
        "quarter with smallest objects",
        "quarter with largest objects",
        "object size",
        "{:.2%} of the picture",
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """A part of the test pictures."""

    kind: str  #: class, source, cluster, or the fact that it is cut by
    name: str
    inside: Bools  #: (N,) which pictures belong to it
    detail: str = ""  #: what exactly puts a picture into it

    @property
    def pictures(self) -> int:
        """How many belong to it."""
        return int(self.inside.sum())

    @property
    def words(self) -> str:
        """Its name; of a cluster, which has none of its own, with what it has most of."""
        return (
            f"{self.name} ({self.detail})" if self.kind == "cluster" and self.detail else self.name
        )


@dataclass(frozen=True, slots=True, eq=False)
class Slicing:
    """All slices of the test pictures, and the clusters that some of them are."""

    slices: tuple[Slice, ...]
    clusters: Clusters | None
    without_clusters: str = ""  #: why there are none


def cut_slices(facts: PictureFacts, data: Dataset, least: int) -> Slicing:
    """Every slice with at least ``least`` pictures that leaves as many outside.

    Two slices of the same pictures are one, the first; so a source that is a class's folder is
    the class.

    Args:
        facts: of the test pictures.
        data: the data set; its classes are slices, in detection the pictures that show one.
        least: pictures.
    """
    classes = list(_classes(data))
    found = [*classes, *_sources(facts.sources)]
    for fact, values in facts.values.items():
        found += _ends(fact, values)
    clusters = None
    if facts.embeddings is not None:
        clusters = find_clusters(facts.embeddings, len(data.info.classes))
    if clusters is not None:
        found += _clusters(clusters, found)
    kept: dict[bytes, Slice] = {}
    for each in found:
        if least <= each.pictures <= len(each.inside) - least:
            kept.setdefault(np.packbits(each.inside).tobytes(), each)
    why = facts.without_embeddings or ("" if clusters else "there are too few test pictures")
    return Slicing(tuple(kept.values()), clusters, why)


def _classes(data: Dataset) -> Sequence[Slice]:
    split, names = data.split("test"), data.info.classes
    if data.info.task == "classification":
        return [Slice("class", name, split.labels == k) for k, name in enumerate(names)]
    shown = [set(objects.labels[~objects.crowd].tolist()) for objects in split.objects]
    return [
        Slice(
            "class",
            name,
            np.array([k in each for each in shown], np.bool_),
            "pictures that show it",
        )
        for k, name in enumerate(names)
    ]


def _sources(sources: Sequence[str]) -> Sequence[Slice]:
    names = sorted(set(sources))
    if not 1 < len(names) <= MOST_SOURCES:
        return []
    column = np.array(sources, object)
    return [Slice("source", name or "without a folder", column == name) for name in names]


def _ends(fact: str, values: Floats) -> Sequence[Slice]:
    """The quarters with the lowest and the highest values, where values differ enough."""
    known = values[np.isfinite(values)]
    if not len(known):
        return []
    low_name, high_name, kind, form = _ENDS[fact]
    low, high = np.quantile(known, (0.25, 0.75))
    # The value of what is no measure that people know would say nothing.
    details = (f"up to {form.format(low)}", f"from {form.format(high)}") if form else ("", "")
    ends = [
        Slice(kind, low_name, values <= low, details[0]),
        Slice(kind, high_name, values >= high, details[1]),
    ]
    return [end for end in ends if end.pictures <= _LARGEST_SHARE * len(values)]


def _clusters(clusters: Clusters, others: Sequence[Slice]) -> Sequence[Slice]:
    return [
        Slice("cluster", f"cluster {c + 1}", inside, describe(inside, others))
        for c in range(clusters.count)
        if (inside := clusters.labels == c).any()
    ]


def describe(inside: Bools, others: Sequence[Slice]) -> str:
    """What a group of pictures has most of: its largest class, and the fact that it has more of
    than other pictures do, where that takes in at least half of it and is twice as frequent in it.
    """
    shares = [(float(each.inside[inside].mean()), each) for each in others]
    classes = [(share, each.name) for share, each in shares if each.kind == "class"]
    words = []
    if classes:
        share, name = max(classes, key=lambda pair: pair[0])
        words.append(f"{share * 100:.0f} % {name}")
    facts = [
        (share / float(each.inside.mean()), share, each.name)
        for share, each in shares
        if each.kind not in ("class", "source") and share >= 0.5 and each.inside.any()
    ]
    if facts:
        times, share, name = max(facts)
        if times >= 2:
            words.append(f"{share * 100:.0f} % in the {name}")
    return ", ".join(words)

"""WordNet as a taxonomy of classes: path lengths, and superclasses with enough images."""

import contextlib
import functools
import importlib.resources
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int

Corpus = Literal["auto", "nltk", "shipped"]


class Taxonomy(NamedTuple):
    """Classes and every synset above them.

    Attributes:
        wnids: WordNet 3.0 noun id of each class ("n02084071"), index = label; in a hierarchy of one's own the node's id.
        names: first lemma of each class.
        parents: wnid -> wnids of its hypernyms and instance hypernyms, for the classes and all above them.
        lemmas: wnid -> first lemma, for the same synsets.
        corpus: "nltk" or "shipped", where the hypernyms were read, or "given" for a hierarchy of one's own.
    """

    wnids: tuple[str, ...]
    names: tuple[str, ...]
    parents: Mapping[str, tuple[str, ...]]
    lemmas: Mapping[str, str]
    corpus: str


class Superclasses(NamedTuple):
    """A partition of the classes along WordNet.

    Attributes:
        superclass: class -> superclass.
        wnids: wnid of each superclass.
        names: first lemma of each superclass.
        counts: images of each superclass.
    """

    superclass: Int[np.ndarray, " k"]
    wnids: tuple[str, ...]
    names: tuple[str, ...]
    counts: Int[np.ndarray, " s"]


def wordnet_taxonomy(wnids: Sequence[str], *, corpus: Corpus = "auto") -> Taxonomy:
    """The part of WordNet 3.0 above some noun synsets.

    Args:
        wnids: ids of the classes in the order of the labels.
        corpus: "nltk" reads nltk's WordNet, "shipped" the closure that comes with the package (the ILSVRC classes and
            common physical nouns), "auto" nltk's where its corpus is installed and else the shipped one.

    Raises:
        ValueError: no class, an id that is not one, one that the corpus lacks, or no nltk corpus where it was asked for.
    """
    if not wnids:
        raise ValueError("expected at least one wnid, got none; write wnids such as 'n02084071'.")
    for wnid in wnids:
        if len(wnid) != 9 or wnid[0] != "n" or not wnid[1:].isdigit():
            raise ValueError(f"expected wnids such as 'n02084071', got {wnid!r}; write 'n' and the 8-digit noun offset.")
    read, used = _reader(corpus)
    parents: dict[str, tuple[str, ...]] = {}
    lemmas: dict[str, str] = {}
    todo = list(wnids)
    while todo:
        wnid = todo.pop()
        if wnid not in parents:
            lemmas[wnid], parents[wnid] = read(wnid)
            todo.extend(parents[wnid])
    return Taxonomy(tuple(wnids), tuple(lemmas[wnid] for wnid in wnids), parents, lemmas, used)


def ilsvrc_wnids() -> tuple[str, ...]:
    """The wnids of the 1 000 ILSVRC classes in class order."""
    numbered = [(number, wnid) for wnid, (_, _, number) in _shipped().items() if number is not None]
    return tuple(wnid for _, wnid in sorted(numbered))


def path_lengths(taxonomy: Taxonomy) -> Int[np.ndarray, "k k"]:
    """Length of the shortest hypernym path between every two classes: edges up to a common hypernym and down again.

    The same number as `shortest_path_distance` of nltk's WordNet synsets.

    Args:
        taxonomy: the classes, of `wordnet_taxonomy`.

    Raises:
        ValueError: two classes without a common hypernym.
    """
    far = 1 << 20
    lengths = np.full((len(taxonomy.wnids),) * 2, far, dtype=np.int32)
    for rows, heights in ancestors(taxonomy).values():
        block = np.ix_(rows, rows)
        lengths[block] = np.minimum(lengths[block], heights[:, None] + heights[None, :])
    if lengths.max() == far:
        i, j = np.argwhere(lengths == far)[0]
        pair = f"{taxonomy.wnids[i]} and {taxonomy.wnids[j]}"
        raise ValueError(f"expected classes under one root, got {pair} without a common hypernym; leave one of them out.")
    return lengths


def ancestors(taxonomy: Taxonomy) -> dict[str, tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]]:
    """Every node -> the classes below it, itself included, and the least number of edges from each up to it."""
    below: dict[str, list[tuple[int, int]]] = {}
    for i, wnid in enumerate(taxonomy.wnids):
        for ancestor, height in _heights(taxonomy.parents, wnid).items():
            below.setdefault(ancestor, []).append((i, height))
    pairs = {node: np.asarray(members, dtype=np.int32).T for node, members in below.items()}
    return {node: (rows, heights) for node, (rows, heights) in pairs.items()}


def superclasses(taxonomy: Taxonomy, counts: Int[np.ndarray, " k"], *, min_images: int = 20) -> Superclasses:
    """Merges classes along WordNet until every superclass has at least `min_images` images.

    Each synset hangs under its first hypernym, which makes WordNet a tree. From the leaves to the root, a synset gathers
    its own images and those that its children passed up; with at least `min_images` of them it becomes a superclass of
    all classes gathered, and with fewer it passes them up. Classes left over at the root join the superclass whose classes
    have the smallest mean path length to them (of equals, the one with the smallest wnid). A superclass is therefore a
    synset without those of its hyponyms that are superclasses themselves. Nothing is random, and the order of the classes
    changes only the order of the superclasses.

    Args:
        taxonomy: the classes.
        counts: images of each class; `np.bincount(labels, minlength=k)`.
        min_images: least number of images of a superclass.

    Returns:
        The partition, superclasses in the order of their first class.

    Raises:
        ValueError: fewer than `min_images` images in all.
    """
    if len(counts) != len(taxonomy.wnids):
        raise ValueError(f"expected {len(taxonomy.wnids)} counts, got {len(counts)}; write np.bincount(labels, minlength=k).")
    if counts.sum() < min_images:
        raise ValueError(f"expected at least {min_images} images in all, got {counts.sum()}; lower min_images.")
    groups, rest = _gather(taxonomy, counts, min_images)
    joined = {wnid: list(members) for wnid, members in groups.items()}
    if rest:
        names = sorted(groups)
        member = np.zeros((len(counts), len(names)))
        for column, wnid in enumerate(names):
            member[groups[wnid], column] = 1 / len(groups[wnid])
        nearest = np.argmin((path_lengths(taxonomy)[rest] @ member).round(9), axis=1)
        for i, column in zip(rest, nearest, strict=True):
            joined[names[column]].append(i)
    ordered = sorted(joined, key=lambda wnid: min(joined[wnid]))
    index = np.empty(len(counts), dtype=np.int32)
    for number, wnid in enumerate(ordered):
        index[joined[wnid]] = number
    totals = np.bincount(index, weights=counts, minlength=len(ordered)).astype(np.int64)
    return Superclasses(index, tuple(ordered), tuple(taxonomy.lemmas[wnid] for wnid in ordered), totals)


def _gather(taxonomy: Taxonomy, counts: np.ndarray, min_images: int) -> tuple[dict[str, list[int]], list[int]]:
    """Superclasses from the leaves to the root, and the classes left over there."""
    depths = {wnid: _depth(taxonomy.parents, wnid) for wnid in taxonomy.parents}
    waiting: dict[str, list[int]] = {}
    for i, wnid in enumerate(taxonomy.wnids):
        waiting.setdefault(wnid, []).append(i)
    groups: dict[str, list[int]] = {}
    rest: list[int] = []
    for wnid in sorted(depths, key=lambda wnid: (-depths[wnid], wnid)):
        members = waiting.pop(wnid, [])
        if not members:
            continue
        if sum(int(counts[i]) for i in members) >= min_images:
            groups[wnid] = members
        elif taxonomy.parents[wnid]:
            waiting.setdefault(taxonomy.parents[wnid][0], []).extend(members)
        else:
            rest.extend(members)
    return groups, rest


def _depth(parents: Mapping[str, tuple[str, ...]], wnid: str) -> int:
    """Edges from a synset to the root along first hypernyms."""
    depth = 0
    while parents[wnid]:
        wnid, depth = parents[wnid][0], depth + 1
    return depth


def _heights(parents: Mapping[str, tuple[str, ...]], wnid: str) -> dict[str, int]:
    """Every synset above one, itself included, with the least number of edges up to it."""
    heights = {wnid: 0}
    front = [wnid]
    while front:
        above = [parent for child in front for parent in parents[child]]
        height = heights[front[0]] + 1
        front = [parent for parent in dict.fromkeys(above) if parent not in heights]
        heights.update(dict.fromkeys(front, height))
    return heights


def _reader(corpus: str) -> tuple[Callable[[str], tuple[str, tuple[str, ...]]], str]:
    """A function wnid -> (first lemma, hypernyms), and the name of the corpus behind it."""
    if corpus not in ("auto", "nltk", "shipped"):
        raise ValueError(f"expected corpus 'auto', 'nltk' or 'shipped', got {corpus!r}.")
    nouns = None if corpus == "shipped" else _nltk_nouns()
    if nouns is not None:
        return functools.partial(_read_nltk, nouns), "nltk"
    if corpus == "nltk":
        raise ValueError("expected nltk's WordNet 3.0, got no usable corpus; run python -m nltk.downloader wordnet.")
    return _read_shipped, "shipped"


def _nltk_nouns() -> Callable[[str, int], Any] | None:
    """nltk's lookup of synsets by offset, or None where the corpus is missing, broken or not WordNet 3.0."""
    from nltk.corpus import wordnet
    from nltk.corpus.reader.wordnet import WordNetError

    try:
        dog = wordnet.synset_from_pos_and_offset("n", 2084071)
    except (LookupError, OSError, ValueError, WordNetError):
        return None
    return wordnet.synset_from_pos_and_offset if dog is not None and "dog" in dog.lemma_names() else None


def _read_nltk(lookup: Callable[[str, int], Any], wnid: str) -> tuple[str, tuple[str, ...]]:
    synset = None
    with warnings.catch_warnings(), contextlib.suppress(LookupError, OSError, ValueError):
        warnings.simplefilter("ignore")  # nltk warns of an offset that is no synset; the error below says it
        synset = lookup("n", int(wnid[1:]))
    if synset is None:
        raise ValueError(f"unknown wnid {wnid!r}; it is no noun of WordNet 3.0.")
    above = (*synset.hypernyms(), *synset.instance_hypernyms())
    return synset.lemma_names()[0], tuple(f"n{parent.offset():08d}" for parent in above)


def _read_shipped(wnid: str) -> tuple[str, tuple[str, ...]]:
    if wnid not in _shipped():
        raise ValueError(
            f"unknown wnid {wnid!r}; the closure that ships lacks it: run python -m nltk.downloader wordnet, "
            f"or scripts/make_wordnet.py --also {wnid}."
        )
    lemma, parents, _ = _shipped()[wnid]
    return lemma, parents


@functools.cache
def _shipped() -> Mapping[str, tuple[str, tuple[str, ...], int | None]]:
    """wnid -> (first lemma, hypernyms, ILSVRC class or None) of the closure that comes with the package."""
    text = importlib.resources.files("jaxinterp.metrics").joinpath("wordnet/nouns.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    table = {row[0]: (row[1].split()[0], tuple(row[2].split()), int(row[3]) if row[3] else None) for row in rows}
    return types.MappingProxyType(table)

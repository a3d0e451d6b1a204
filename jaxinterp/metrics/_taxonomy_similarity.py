"""Similarity of classes by a taxonomy: path length, Wu and Palmer's depth, or Lin's information content."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Num

from jaxinterp.metrics._consistency import similarity
from jaxinterp.metrics._taxonomy import Taxonomy, ancestors, path_lengths

Measure = Literal["path", "wu_palmer", "lin"]


def taxonomy_similarity(
    taxonomy: Taxonomy,
    *,
    measure: Measure = "path",
    sigma: float = 2.0,
    ic: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    frequencies: Num[np.ndarray, " k"] | None = None,
) -> Float[np.ndarray, "k k"]:
    """D, the similarity of every two classes, for `level_consistency`, `consistency` and `consistency_study`.

    All three are 1 on the diagonal and lie in [0, 1]. LC by one is not to be compared with LC by another: each has its own
    null and its own value for unlike classes (`level_null`).

    Args:
        taxonomy: the classes, of `wordnet_taxonomy`, `read_hierarchy` or `hierarchy`.
        measure: "path" is `exp(-len^2 / (2 sigma^2))`, the papers' form; "wu_palmer" and "lin" as the functions of these
            names.
        sigma: of "path", in edges.
        ic: of "lin", see `information_content`.
        frequencies: of "lin", see `information_content`.

    Raises:
        ValueError: an unknown measure, `ic` or `frequencies` with another measure than "lin", or what the functions refuse.
    """
    if measure not in ("path", "wu_palmer", "lin"):
        raise ValueError(f'expected measure="path", "wu_palmer" or "lin", got {measure!r}.')
    if measure == "lin":
        return lin(taxonomy, information_content(taxonomy, ic=ic, frequencies=frequencies))
    if ic is not None or frequencies is not None:
        raise ValueError(f'expected ic or frequencies only with measure="lin", got measure={measure!r}; leave them out.')
    return wu_palmer(taxonomy) if measure == "wu_palmer" else similarity(path_lengths(taxonomy), sigma=sigma)


def wu_palmer(taxonomy: Taxonomy) -> Float[np.ndarray, "k k"]:
    """Wu and Palmer's similarity, `2 d / (2 d + len(i, s) + len(j, s))`.

    s is the deepest common ancestor of the two classes, d the number of nodes from the root to it. Where several paths lead
    up, d counts along the longest and len along the shortest, as nltk has it; of equally deep ancestors the one that gives
    most is taken. Unlike nltk, which looks for s along the shortest paths, by which a dog is .93 of itself, depth is the
    longest path there too.

    Args:
        taxonomy: the classes.

    Raises:
        ValueError: two classes without a common ancestor.

    References:
        Zhibiao Wu, Martha Palmer, "Verb Semantics and Lexical Selection", 1994, section 4.
    """
    nodes_to = _depths(taxonomy.parents)
    below = ancestors(taxonomy)
    size = len(taxonomy.wnids)
    depth, result = np.zeros((size, size), np.int64), np.zeros((size, size))
    for node in sorted(below, key=lambda node: nodes_to[node]):
        rows, heights = below[node]
        block, nodes = np.ix_(rows, rows), nodes_to[node]
        value = 2 * nodes / (2 * nodes + heights[:, None] + heights[None, :])
        result[block] = np.where((depth[block] < nodes) | (result[block] < value), value, result[block])
        depth[block] = nodes
    _check_joined(taxonomy, depth > 0)
    return result


def lin(taxonomy: Taxonomy, content: Mapping[str, float]) -> Float[np.ndarray, "k k"]:
    """Lin's similarity, `2 IC(s) / (IC(i) + IC(j))`, with s the common ancestor of most information.

    Two classes whose content is zero are alike: 1.

    Args:
        taxonomy: the classes.
        content: IC of every node above the classes, of `information_content`.

    Raises:
        ValueError: two classes without a common ancestor, or a class of unbounded content, which was never counted.

    References:
        Dekang Lin, "An Information-Theoretic Definition of Similarity", 1998, section 4.
    """
    own = np.asarray([content[node] for node in taxonomy.wnids])
    if not np.isfinite(own).all():
        missing = [taxonomy.wnids[i] for i in np.flatnonzero(~np.isfinite(own))]
        raise ValueError(
            f"expected every class to be counted, got none of {len(missing)} class(es) such as {missing[0]}; "
            "add 1 to all frequencies, or take an ic file with smoothing (its name has add1)."
        )
    shared = np.full((len(own),) * 2, -1.0)
    for node, (rows, _) in ancestors(taxonomy).items():
        block = np.ix_(rows, rows)
        shared[block] = np.maximum(shared[block], content[node])
    _check_joined(taxonomy, shared >= 0)
    total = own[:, None] + own[None, :]
    result = np.divide(2 * shared, total, out=np.ones_like(shared), where=total > 0)
    np.fill_diagonal(result, 1.0)
    return result


def information_content(
    taxonomy: Taxonomy,
    *,
    ic: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    frequencies: Num[np.ndarray, " k"] | None = None,
) -> dict[str, float]:
    """IC of every node, `-ln(count / total)`: of a corpus, or of the images themselves.

    Args:
        taxonomy: the classes; with `ic`, of WordNet 3.0.
        ic: counts of noun synsets as nltk has them, the dictionary that `nltk.corpus.wordnet_ic.ic` returns or a file such as
            ic-brown.dat of its corpus wordnet_ic.
        frequencies: images of each class; a node's count is that of all classes below it, each once.

    Returns:
        Node -> IC in nats; infinity for a node that was never counted.

    Raises:
        ValueError: both or neither given, frequencies of another length or without any image, or no counts of nouns.

    References:
        Philip Resnik, "Using Information Content to Evaluate Semantic Similarity in a Taxonomy", 1995, section 2.
    """
    if (ic is None) == (frequencies is None):
        raise ValueError(
            "expected counts for the information content, got "
            f"{'none' if ic is None else 'two'}; write ic= nltk's dictionary or file, or frequencies= images of each class."
        )
    if frequencies is not None:
        if len(frequencies) != len(taxonomy.wnids) or not (np.asarray(frequencies) >= 0).all() or np.sum(frequencies) <= 0:
            raise ValueError(
                f"expected {len(taxonomy.wnids)} frequencies >= 0, not all 0, got {len(frequencies)} with sum "
                f"{np.sum(frequencies)}; write np.bincount(labels, minlength=k)."
            )
        counts = {node: float(np.sum(frequencies[rows])) for node, (rows, _) in ancestors(taxonomy).items()}
        total = float(np.sum(frequencies))
    else:
        nouns = (ic if isinstance(ic, Mapping) else _read_ic(pathlib.Path(ic or ""))).get("n")
        if not nouns or not nouns.get(0):
            raise ValueError(
                'expected counts of nouns, got none; write ic={"n": {0: total, offset: count, ...}}, as nltk does.'
            )
        wrong = next((node for node in taxonomy.parents if not (node[0] == "n" and node[1:].isdigit())), None)
        if wrong is not None:
            raise ValueError(f"expected WordNet ids with ic, got {wrong!r}; write frequencies= for a hierarchy of your own.")
        counts = {node: float(nouns.get(int(node[1:]), 0.0)) for node in taxonomy.parents}
        total = float(nouns[0])
    # An ic file has the root above all nouns; rounding may leave a node's count above the total.
    return {node: max(-float(np.log(count / total)), 0.0) if count > 0 else float("inf") for node, count in counts.items()}


def _read_ic(path: pathlib.Path) -> Mapping[str, Any]:
    """The nouns of a file whose lines are "1740n 99.5 ROOT": offset, part of speech, count, and a mark at the root."""
    if not path.is_file():
        raise ValueError(f"expected an information content file, got no file {path}; nltk.downloader wordnet_ic has them.")
    nouns: dict[int, float] = {0: 0.0}
    try:
        for line in path.read_text(encoding="utf-8").splitlines()[1:]:
            node, count, *mark = line.split()
            if node.endswith("n"):
                nouns[int(node[:-1])] = float(count)
                nouns[0] += float(count) if mark == ["ROOT"] else 0.0
    except ValueError as error:
        raise ValueError(f"expected a file such as nltk's ic-brown.dat, got something else: {path} ({error}).") from error
    return {"n": nouns}


def _depths(parents: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Nodes from a root to every node, itself included, along the longest path."""
    depth: dict[str, int] = {}
    todo = list(parents)
    while todo:
        node = todo[-1]
        waiting = [parent for parent in parents[node] if parent not in depth]
        todo.extend(waiting)
        if not waiting:
            todo.pop()
            depth[node] = 1 + max((depth[parent] for parent in parents[node]), default=0)
    return depth


def _check_joined(taxonomy: Taxonomy, joined: np.ndarray) -> None:
    if not joined.all():
        i, j = np.argwhere(~joined)[0]
        pair = f"{taxonomy.wnids[i]} and {taxonomy.wnids[j]}"
        raise ValueError(f"expected classes under one root, got {pair} without a common one; leave one of them out.")

"""Hierarchies of one's own, and three similarities against closed forms on small trees and against nltk."""

import math
import pathlib

import numpy as np
import pytest

from jaxinterp.metrics import (
    hierarchy,
    ilsvrc_wnids,
    information_content,
    level_consistency,
    lin,
    path_lengths,
    read_hierarchy,
    superclasses,
    taxonomy_similarity,
    unbiased_level_consistency,
    wordnet_taxonomy,
    wu_palmer,
)

LINES = """child,parent,name
thing,,everything
animal,thing,
dog,animal,good dog
cat,animal,
car,thing,
"""
EDGES = (("animal", "thing"), ("dog", "animal"), ("cat", "animal"), ("car", "thing"))
CLASSES = ("dog", "cat", "car")


@pytest.fixture(scope="module")
def tree():
    return hierarchy(EDGES, CLASSES)


def test_a_file_and_its_pairs_are_one_taxonomy(tmp_path, tree):
    path = tmp_path / "tree.csv"
    path.write_text(LINES)
    read = read_hierarchy(path, CLASSES)
    assert read.parents == tree.parents
    assert (read.names, tree.names) == (("good dog", "cat", "car"), CLASSES)
    assert (read.lemmas["thing"], read.corpus) == ("everything", "given")
    assert path_lengths(read).tolist() == [[0, 2, 3], [2, 0, 3], [3, 3, 0]]
    assert superclasses(read, np.asarray([12, 12, 30]), min_images=20).wnids == ("animal", "car")


def test_branches_without_classes_are_left_out(tree):
    wider = hierarchy((*EDGES, ("bee", "insect"), ("insect", "thing"), ("lost", "nowhere")), CLASSES)
    assert wider.parents == tree.parents


@pytest.mark.parametrize(
    ("edges", "classes", "message"),
    [
        (EDGES, ("dog", "cot"), r"unknown class 'cot'.*did you mean 'cat'"),
        (EDGES, (), "every class once and at least one"),
        (EDGES, ("dog", "dog"), "every class once"),
        ((*EDGES, ("", "thing")), CLASSES, "expected a child in every line, got none under 'thing'"),
        ((*EDGES, ("animal", "dog")), CLASSES, "without cycles, got .*dog under animal"),
        ((*EDGES, ("car", "car")), CLASSES, "without cycles, got car under car"),
        ((*EDGES[:3], ("car", "tool")), CLASSES, "expected one root above all classes, got 2: thing, tool"),
    ],
)
def test_bad_hierarchies_are_refused(edges, classes, message):
    with pytest.raises(ValueError, match=message) as refused:
        hierarchy(edges, classes)
    assert "\n" not in str(refused.value)


def test_bad_files_are_refused(tmp_path):
    path = tmp_path / "tree.csv"
    path.write_text("node,above\na,b\n")
    with pytest.raises(ValueError, match="expected the columns child,parent"):
        read_hierarchy(path, ("a",))
    path.write_bytes(b"child,parent\n\xff\xfe,b\n")
    with pytest.raises(ValueError, match="a CSV file in UTF-8"):
        read_hierarchy(path, ("a",))


def test_wu_palmer_by_hand(tree):
    # thing has depth 1, animal 2, dog and cat 3, car 2.
    expected = [[1, 4 / 6, 2 / 5], [4 / 6, 1, 2 / 5], [2 / 5, 2 / 5, 1]]
    np.testing.assert_allclose(wu_palmer(tree), expected)


def test_wu_palmer_where_paths_differ():
    # "both" lies under a long and a short branch: its depth as an ancestor counts the long one.
    edges = (("long", "top"), ("longer", "long"), ("both", "longer"), ("both", "top"), ("one", "both"), ("two", "both"))
    found = wu_palmer(hierarchy(edges, ("one", "two", "long")))
    assert found[0, 1] == pytest.approx(2 * 4 / (2 * 4 + 1 + 1))
    assert found[0, 2] == pytest.approx(2 * 2 / (2 * 2 + 3 + 0))  # "long" itself, one edge from the root


def test_lin_by_hand(tree):
    counts = np.asarray([2.0, 2.0, 4.0])
    content = information_content(tree, frequencies=counts)
    assert content == pytest.approx(
        {"thing": 0, "animal": math.log(2), "dog": math.log(4), "cat": math.log(4), "car": math.log(2)}
    )
    expected = [[1, 2 * math.log(2) / (2 * math.log(4)), 0], [0.5, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(lin(tree, content), expected)
    np.testing.assert_allclose(taxonomy_similarity(tree, measure="lin", frequencies=counts), expected)


def test_a_node_with_two_parents_is_counted_once_above():
    edges = (("left", "top"), ("right", "top"), ("one", "left"), ("one", "right"), ("two", "right"))
    content = information_content(hierarchy(edges, ("one", "two")), frequencies=np.asarray([1, 1]))
    assert content["top"] == 0
    assert content["right"] == 0
    assert content["left"] == pytest.approx(math.log(2))


def test_path_is_the_default(tree):
    found = taxonomy_similarity(tree, sigma=1.5)
    np.testing.assert_allclose(found, np.exp(-np.asarray([[0, 4, 9], [4, 0, 9], [9, 9, 0]]) / 4.5))


def test_lin_wants_counts(tree):
    with pytest.raises(ValueError, match="got none; write ic= nltk's dictionary or file, or frequencies="):
        taxonomy_similarity(tree, measure="lin")
    with pytest.raises(ValueError, match=r"got two"):
        information_content(tree, ic={"n": {0: 1.0}}, frequencies=np.ones(3))
    with pytest.raises(ValueError, match="expected 3 frequencies"):
        information_content(tree, frequencies=np.zeros(3))
    with pytest.raises(ValueError, match="such as car; add 1 to all frequencies"):
        taxonomy_similarity(tree, measure="lin", frequencies=np.asarray([1, 1, 0]))
    with pytest.raises(ValueError, match="expected WordNet ids with ic, got '"):
        information_content(tree, ic={"n": {0: 1.0}})
    with pytest.raises(ValueError, match="counts of nouns, got none"):
        information_content(tree, ic={"v": {0: 1.0}})
    with pytest.raises(ValueError, match="got no file nowhere"):
        information_content(tree, ic=pathlib.Path("nowhere.dat"))
    with pytest.raises(ValueError, match='only with measure="lin"'):
        taxonomy_similarity(tree, measure="wu_palmer", frequencies=np.ones(3))


def test_an_ic_file_of_nltk(tmp_path):
    dog, cat, car = wordnet = ("n02084071", "n02121620", "n02958343")
    taxonomy = wordnet_taxonomy(wordnet, corpus="shipped")
    counts = dict.fromkeys(taxonomy.parents, 2.0)
    counts |= {"n00001740": 64.0, dog: 2.0, cat: 4.0, car: 8.0, "n02075296": 16.0}  # 16: carnivore
    lines = [f"{int(node[1:])}n {count}{' ROOT' if not taxonomy.parents[node] else ''}" for node, count in counts.items()]
    path = tmp_path / "ic-small.dat"
    path.write_text("wnver::none\n" + "\n".join(lines) + "\n")
    content = information_content(taxonomy, ic=path)
    assert content[car] == pytest.approx(math.log(64 / 8))
    table = {"n": {0: 64.0} | {int(node[1:]): count for node, count in counts.items()}}
    assert information_content(taxonomy, ic=table) == pytest.approx(content)
    above = set(taxonomy.parents)
    shared = max(content[node] for node in _above(taxonomy, dog) & _above(taxonomy, cat) & above)
    expected = 2 * shared / (content[dog] + content[cat])
    assert lin(taxonomy, content)[0, 1] == pytest.approx(expected)
    (tmp_path / "bad.dat").write_text("header\n1740n many\n")
    with pytest.raises(ValueError, match=r"such as nltk's ic-brown\.dat"):
        information_content(taxonomy, ic=tmp_path / "bad.dat")


def _above(taxonomy, node):
    found, todo = set(), [node]
    while todo:
        if (top := todo.pop()) not in found:
            found.add(top)
            todo += taxonomy.parents[top]
    return found


@pytest.fixture(scope="module")
def ilsvrc():
    return wordnet_taxonomy(ilsvrc_wnids(), corpus="shipped")


@pytest.mark.parametrize("measure", ["wu_palmer", "lin"])
def test_similarities_of_the_ilsvrc_classes(ilsvrc, measure):
    found = taxonomy_similarity(ilsvrc, measure=measure, frequencies=np.full(1000, 50) if measure == "lin" else None)
    assert np.array_equal(found, found.T)
    assert (np.diag(found) == 1).all()
    assert found.min() >= 0
    assert found.max() == 1
    dogs = np.mean(found[151:269, 151:269])
    assert dogs > 2 * np.mean(found) or dogs > 0.8


def test_lc_takes_any_similarity(tree):
    p = np.asarray([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    d = np.asarray([[2.0, 0.5, 0.0], [0.5, 1.0, 0.1], [0.0, 0.1, 4.0]])
    np.testing.assert_allclose(level_consistency(p, d), [row @ d @ row for row in p])
    labels = np.asarray([0, 0, 0, 0, 0, 1, 1, 1, 2, 2])
    pairs = d[np.ix_(labels, labels)][~np.eye(10, dtype=bool)]
    assert unbiased_level_consistency(p, d, 10)[0] == pytest.approx(pairs.mean())
    assert level_consistency(p, wu_palmer(tree))[1] == 1

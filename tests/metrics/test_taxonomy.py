"""WordNet paths against known figures and nltk; superclasses by their laws."""

import importlib
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from jaxinterp.metrics import ilsvrc_wnids, path_lengths, similarity, superclasses, wordnet_taxonomy
from tests.conftest import SHARED

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEBIAN = pathlib.Path("/usr/share/wordnet")
DOG, CAT, CAR, ENTITY = "n02084071", "n02121620", "n02958343", "n00001740"

LEXNAMES = """adj.all 3|adj.pert 3|adv.all 4|noun.Tops 1|noun.act 1|noun.animal 1|noun.artifact 1|noun.attribute 1|noun.body 1|
noun.cognition 1|noun.communication 1|noun.event 1|noun.feeling 1|noun.food 1|noun.group 1|noun.location 1|noun.motive 1|
noun.object 1|noun.person 1|noun.phenomenon 1|noun.plant 1|noun.possession 1|noun.process 1|noun.quantity 1|noun.relation 1|
noun.shape 1|noun.state 1|noun.substance 1|noun.time 1|verb.body 2|verb.change 2|verb.cognition 2|verb.communication 2|
verb.competition 2|verb.consumption 2|verb.contact 2|verb.creation 2|verb.emotion 2|verb.motion 2|verb.perception 2|
verb.possession 2|verb.social 2|verb.stative 2|verb.weather 2|adj.ppl 3"""


@pytest.fixture(scope="module")
def ilsvrc():
    return wordnet_taxonomy(ilsvrc_wnids(), corpus="shipped")


@pytest.fixture(scope="module")
def lengths(ilsvrc):
    return path_lengths(ilsvrc)


def test_check_figures_of_the_ilsvrc_paths(lengths):
    off = lengths[~np.eye(1000, dtype=bool)]
    assert round(off.mean(), 1) == 12.6
    assert (np.median(off), off.min(), off.max()) == (13, 2, 26)
    nearest = np.where(np.eye(1000, dtype=bool), 99, lengths).min(axis=1)
    assert (nearest == 2).sum() == 677
    assert (nearest == 3).sum() == 201
    assert (lengths == lengths.T).all()
    assert (np.diag(lengths) == 0).all()


@pytest.mark.parametrize(
    ("sigma", "every", "dogs"), [(1.0, 0.0013, 0.016), (1.5, None, 0.046), (2.0, 0.0059, 0.102), (3.0, 0.0231, 0.275)]
)
def test_check_figures_of_uniform_distributions(lengths, sigma, every, dogs):
    d = similarity(lengths, sigma=sigma)
    if every is not None:
        assert round(d.mean(), 4) == every
    assert round(d[151:269, 151:269].mean(), 3) == dogs


def test_paths_go_through_every_hypernym():
    taxonomy = wordnet_taxonomy((DOG, CAT, CAR, ENTITY), corpus="shipped")
    assert taxonomy.names == ("dog", "cat", "car", "entity")
    found = path_lengths(taxonomy)
    assert found[0, 1] == 4  # dog - canine - carnivore - feline - cat
    assert found[0, 3] == 8  # through domestic_animal, shorter than through carnivore
    assert found[2, 3] > 0


def test_no_common_hypernym_is_refused():
    taxonomy = wordnet_taxonomy((DOG, CAT), corpus="shipped")
    cut = taxonomy._replace(parents=dict.fromkeys(taxonomy.parents, ()))
    with pytest.raises(ValueError, match="common hypernym"):
        path_lengths(cut)


@pytest.mark.parametrize(
    ("wnids", "message"),
    [((), "at least one"), (("dog",), "8-digit"), (("n99999999",), "make_wordnet")],
)
def test_bad_wnids_are_refused(wnids, message):
    with pytest.raises(ValueError, match=message):
        wordnet_taxonomy(wnids, corpus="shipped")


def test_the_closure_is_closed_small_and_licensed():
    folder = ROOT / "jaxinterp" / "metrics" / "wordnet"
    assert (folder / "nouns.tsv").stat().st_size < 400_000
    assert "Princeton University" in (folder / "LICENSE.txt").read_text()
    assert "ALL copies" in (folder / "LICENSE.txt").read_text()
    rows = [line.split("\t") for line in (folder / "nouns.tsv").read_text().splitlines() if not line.startswith("#")]
    known = {row[0] for row in rows}
    assert all(parent in known for row in rows for parent in row[2].split())
    assert [row[0] for row in rows if not row[2]] == [ENTITY]


def test_the_closure_holds_the_concept_world():
    text = (ROOT / "jaxinterp" / "data" / "_world_classes.py").read_text()
    wnids = sorted(set(re.findall(r'"(n\d{8})"', text)))
    assert len(wnids) >= 24
    assert wordnet_taxonomy(wnids, corpus="shipped").wnids == tuple(wnids)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real data")
def test_ilsvrc_order_and_hypernyms_are_those_of_the_data(ilsvrc):
    lines = (SHARED / "data" / "imagenet_classes" / "ilsvrc1000.tsv").read_text().splitlines()[1:]
    rows = [line.split("\t") for line in lines]
    assert ilsvrc.wnids == tuple(row[1] for row in rows)
    assert all(set(ilsvrc.parents[row[1]]) == set(re.findall(r"n\d{8}", row[3])) for row in rows)


@pytest.mark.skipif(not (DEBIAN / "data.noun").is_file(), reason="needs WordNet 3.0")
def test_the_script_writes_the_shipped_files_again(tmp_path):
    script = [sys.executable, str(ROOT / "scripts" / "make_wordnet.py"), "--wordnet", str(DEBIAN), "--out", str(tmp_path)]
    subprocess.run(script, check=True, capture_output=True)
    for name in ("nouns.tsv", "LICENSE.txt"):
        assert (tmp_path / name).read_bytes() == (ROOT / "jaxinterp" / "metrics" / "wordnet" / name).read_bytes()


@pytest.mark.skipif(not (DEBIAN / "data.noun").is_file(), reason="needs WordNet 3.0")
def test_paths_are_those_of_nltk(tmp_path):
    corpus = tmp_path / "corpora" / "wordnet"
    corpus.mkdir(parents=True)
    for pattern in ("data.*", "index.*", "*.exc", "cntlist.rev"):
        for path in DEBIAN.glob(pattern):
            (corpus / path.name).write_bytes(path.read_bytes())
    names = LEXNAMES.replace("\n", "").split("|")
    lines = [f"{i:02d}\t{name.split()[0]}\t{name.split()[1]}\n" for i, name in enumerate(names)]
    (corpus / "lexnames").write_text("".join(lines))
    code = """
import numpy as np
from nltk.corpus import wordnet
from jaxinterp.metrics import ilsvrc_wnids, information_content, lin, path_lengths, wordnet_taxonomy, wu_palmer
from jaxinterp.metrics._taxonomy import _shipped
wnids = ilsvrc_wnids()
read, shipped = wordnet_taxonomy(wnids, corpus="auto"), wordnet_taxonomy(wnids, corpus="shipped")
assert (read.corpus, shipped.corpus) == ("nltk", "shipped")
assert read.names == shipped.names
every = tuple(_shipped())  # an instance of a class among them: the sun
read_all, shipped_all = (wordnet_taxonomy(every, corpus=corpus) for corpus in ("nltk", "shipped"))
assert {w: set(p) for w, p in read_all.parents.items()} == {w: set(p) for w, p in shipped_all.parents.items()}
lengths = path_lengths(read)
assert (lengths == path_lengths(shipped)).all()
rng = np.random.default_rng(0)
for i, j in rng.integers(0, 1000, (300, 2)):
    first, second = (wordnet.synset_from_pos_and_offset("n", int(wnids[k][1:])) for k in (i, j))
    assert lengths[i, j] == first.shortest_path_distance(second), (i, j)
counts = rng.integers(1, 50, 1000)
content = information_content(read, frequencies=counts)
ic = {"n": {0: float(counts.sum())} | {int(node[1:]): float(counts.sum() * np.exp(-c)) for node, c in content.items()}}
by_lin, by_depth, equal = lin(read, information_content(read, ic=ic)), wu_palmer(read), 0
for i, j in rng.integers(0, 1000, (300, 2)):
    first, second = (wordnet.synset_from_pos_and_offset("n", int(wnids[k][1:])) for k in (i, j))
    if i != j:
        assert abs(by_lin[i, j] - first.lin_similarity(second, ic)) < 1e-9, (i, j)
        equal += abs(by_depth[i, j] - first.wup_similarity(second)) < 1e-9
assert equal > 250  # where the shortest path names another deepest ancestor than the longest one, they differ
try:
    wordnet_taxonomy(("n02084072",), corpus="nltk")
except ValueError as error:
    assert "no noun" in str(error)
else:
    raise SystemExit("an offset inside a record was taken for a synset")
"""
    environment = os.environ | {"NLTK_DATA": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_without_the_corpus_the_shipped_closure_serves(monkeypatch):
    module = importlib.import_module("jaxinterp.metrics._taxonomy")
    monkeypatch.setattr(module, "_nltk_nouns", lambda: None)
    assert wordnet_taxonomy((DOG,)).corpus == "shipped"
    with pytest.raises(ValueError, match="downloader"):
        wordnet_taxonomy((DOG,), corpus="nltk")


def _under(taxonomy, wnid):
    """The synsets above one, itself included."""
    above, todo = set(), [wnid]
    while todo:
        if (top := todo.pop()) not in above:
            above.add(top)
            todo += taxonomy.parents[top]
    return above


@pytest.mark.parametrize("min_images", [1, 5, 20, 100])
def test_superclasses_partition_the_classes(ilsvrc, min_images):
    counts = np.random.default_rng(0).integers(0, 3, 1000)
    merged = superclasses(ilsvrc, counts, min_images=min_images)
    assert merged.superclass.min() == 0
    assert set(merged.superclass.tolist()) == set(range(len(merged.wnids)))
    assert merged.counts.min() >= min_images
    assert merged.counts.sum() == counts.sum()
    assert len(set(merged.wnids)) == len(merged.wnids)
    inside = [merged.wnids[group] in _under(ilsvrc, wnid) for group, wnid in zip(merged.superclass, ilsvrc.wnids, strict=True)]
    if min_images > 1:  # all but those left over at the root; with 1 these are the classes without any image
        assert np.mean(inside) > 0.95


def test_superclasses_do_not_depend_on_the_order_of_classes(ilsvrc):
    order = np.random.default_rng(1).permutation(1000)
    shuffled = wordnet_taxonomy([ilsvrc.wnids[i] for i in order], corpus="shipped")
    one = superclasses(ilsvrc, np.ones(1000, dtype=int))
    two = superclasses(shuffled, np.ones(1000, dtype=int))
    assert sorted(one.wnids) == sorted(two.wnids)
    names = [two.wnids[two.superclass[np.flatnonzero(order == i)[0]]] for i in range(1000)]
    assert names == [one.wnids[group] for group in one.superclass]


def test_enough_images_leave_every_class_alone_and_too_few_are_refused(ilsvrc):
    alone = superclasses(ilsvrc, np.full(1000, 20))
    assert alone.wnids == ilsvrc.wnids
    assert (alone.superclass == np.arange(1000)).all()
    with pytest.raises(ValueError, match="in all"):
        superclasses(ilsvrc, np.zeros(1000, dtype=int))
    with pytest.raises(ValueError, match="counts"):
        superclasses(ilsvrc, np.ones(3, dtype=int))


def test_leftover_classes_join_the_nearest_superclass():
    taxonomy = wordnet_taxonomy((DOG, CAT, CAR), corpus="shipped")
    merged = superclasses(taxonomy, np.asarray([20, 3, 20]))
    assert merged.wnids == (DOG, CAR)
    assert merged.superclass.tolist() == [0, 0, 1]
    assert merged.counts.tolist() == [23, 20]

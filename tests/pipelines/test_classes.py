"""The similarity of classes that a study asks for: by path, Wu and Palmer, Lin, over WordNet or a hierarchy of one's own."""

import dataclasses
from typing import Any

import numpy as np

from jaxinterp import data, metrics, pipelines
from jaxinterp.pipelines._consistency import _classes
from tests.pipelines.smoke import smoke

LABELS = np.repeat(np.arange(24), 12)


def classes(tmp_path, labels=LABELS, **knobs: Any):
    study = dataclasses.replace(smoke(), source=lambda: data.concept_world(seed=0, num_images=4), **knobs)
    return _classes(pipelines.Run(study, pipelines.WorkDir(tmp_path / "run")), labels)


def test_wordnet_by_each_measure(tmp_path):
    taxonomy = metrics.wordnet_taxonomy(data.concept_world(seed=0, num_images=4).classes)
    by = {
        "path": metrics.similarity(metrics.path_lengths(taxonomy), sigma=2.0),
        "wu_palmer": metrics.wu_palmer(taxonomy),
        "lin": metrics.lin(taxonomy, metrics.information_content(taxonomy, frequencies=np.full(24, 12))),
    }
    for measure, expected in by.items():
        found = classes(tmp_path, similarity=measure)
        np.testing.assert_array_equal(found.similarity, expected)
        assert not found.merged and len(found.names) == 24


def test_a_hierarchy_of_ones_own(tmp_path):
    wnids = data.concept_world(seed=0, num_images=4).classes
    file = tmp_path / "families.csv"
    rows = [f"{wnid},{'even' if index % 2 == 0 else 'odd'}," for index, wnid in enumerate(wnids)]
    file.write_text("\n".join(["child,parent,name", "even,all,", "odd,all,", *rows]) + "\n")
    found = classes(tmp_path, hierarchy=str(file))
    same = np.exp(-(2**2) / 8)
    assert np.allclose(found.similarity[0, 2::2], same) and np.allclose(found.similarity[0, 1::2], np.exp(-(4**2) / 8))
    few = classes(tmp_path, np.repeat(np.arange(24), 1), hierarchy=str(file), min_class_images=2, min_images=10)
    assert few.merged and len(few.names) == 2 and len(set(few.group[::2])) == 1
    assert np.allclose(few.similarity[0, 1], same), "the two families lie two edges apart"


def test_a_changed_hierarchy_is_another_study(tmp_path):
    from jaxinterp.pipelines._stages import identity

    file = tmp_path / "families.csv"
    file.write_text("child,parent\na,all\n")
    study = dataclasses.replace(smoke(), hierarchy=str(file))
    before = identity(study, {}, {}, {})
    file.write_text("child,parent\na,other\n")
    assert before["hierarchy"] != identity(study, {}, {}, {})["hierarchy"]

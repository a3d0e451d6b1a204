"""Steps compiled for devices that are not there: what is exchanged, and the arithmetic of the prediction."""

import dataclasses
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jaxinterp import _mesh, attacks, training
from jaxinterp.cli import main
from jaxinterp.pipelines._topology import CHIPS, Collective, Compiled, collectives, compile_step, pod_mesh, predict
from tests.attacks.toys import SIZE, conv_model
from tests.pipelines.fitted import fitted

RECIPE = "tests/pipelines/fitted.py"


def test_a_sum_over_devices_is_found_with_its_bytes():
    mesh = _mesh.data_mesh(4)

    def total(rows):
        return jax.lax.psum(rows.sum(axis=0), "data")

    mapped = jax.shard_map(total, mesh=mesh, in_specs=PartitionSpec("data"), out_specs=PartitionSpec())
    text = jax.jit(mapped).lower(jnp.zeros((8, 30))).compile().as_text()
    assert text is not None
    assert collectives(text.splitlines()) == (Collective("all-reduce", 1, 4 * 30),)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("%a = f32[8,4]{1,0} all-reduce(f32[8,4]{1,0} %b), to_apply=%sum", Collective("all-reduce", 1, 128)),
        ("  ROOT %a = (f32[8]{0}, bf16[2,3]{1,0}) all-reduce(%b, %c), to_apply=%sum", Collective("all-reduce", 1, 44)),
        ("%a = f32[] all-reduce-start(f32[] %b)", Collective("all-reduce", 1, 4)),
        ("%a = (f32[2]{0}, f32[8]{0}) all-gather-start(f32[2]{0} %b), dimensions={0}", Collective("all-gather", 1, 32)),
        ("%a = f32[8]{0:T(256)} all-gather-done((f32[2]{0}, f32[8]{0}) %b)", None),
        ("%fused = f32[8]{0} fusion(%all-reduce.3), kind=kLoop", None),
    ],
)
def test_lines_of_the_compiler(line, found):
    assert collectives([line]) == ((found,) if found else ())


def test_a_collective_beside_several_fusions_counts_once():
    beside = 'backend_config={"async_collective_fusion_config":{}}'
    one = f"  %all-gather.7 = f32[8,4]{{1,0:T(8)}} all-gather(%a), channel_id=3, dimensions={{0}}, {beside}"
    again = one.replace(".7", ".8").replace("T(8)", "T(8)S(1)")
    assert collectives([one, again, again.replace("id=3", "id=4")]) == (Collective("all-gather", 2, 256),)
    alone = (
        "  %sum.7 = f32[8]{0} reduce-scatter(%a), channel_id=1, dimensions={0}"  # those of a mapped function share a channel
    )
    assert collectives([alone, alone.replace(".7", ".8")]) == (Collective("reduce-scatter", 2, 64),)


def test_the_step_sums_its_gradients_once():
    """And exchanges little else: statistics, metrics and the number of rows."""
    fit = fitted()
    compiled, _ = compile_step(fit, _mesh.data_mesh(4))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(fit.build().params))
    assert [one.kind for one in compiled.collectives] == ["all-reduce"]
    assert size <= compiled.collectives[0].size <= size + 100
    assert compiled.num_devices == 4 and compiled.flops > 0 and compiled.arguments > 2 * size


def test_what_other_networks_fill_in_comes_with_the_batch():
    """It is computed before the step, which neither holds these networks nor exchanges more."""
    fit, mesh = fitted(), _mesh.data_mesh(4)
    attack = attacks.fgsm(4 / 255)
    other = dataclasses.replace(
        fit,
        objective=training.ensemble_adversarial(attack, static_share=0.5),
        filling=lambda: training.adversaries_of((conv_model(1), conv_model(2)), attack),
    )
    plain = dataclasses.replace(fit, objective=training.adversarial(attack))
    found, without = (compile_step(one, mesh)[0] for one in (other, plain))
    images = fit.batch_size // 4 * SIZE * SIZE * 3 * 4
    assert images <= found.arguments - without.arguments <= images + 16  # and a key, which says which images are taken
    assert [one.kind for one in found.collectives] == ["all-reduce"]


def test_an_optimiser_in_pieces_needs_less_memory_and_gathers_the_new_weights():
    whole, pieces = (compile_step(fitted(shard_optimizer=shard), _mesh.data_mesh(4))[0] for shard in (False, True))
    params = fitted().build().params
    split = sum(params[name].nbytes for name in ("conv1", "conv2"))  # four devices divide no side of the head
    assert whole.arguments - pieces.arguments == pytest.approx(2 * split * 3 / 4, rel=0.1)  # two moments
    sizes = {one.kind: one.size for one in pieces.collectives}
    assert set(sizes) == {"all-reduce", "reduce-scatter", "all-gather"}
    assert sizes["reduce-scatter"] == split / 4
    assert split <= sizes["all-gather"] <= split + 100


def test_the_prediction_by_hand():
    compiled = Compiled(16, 0, 0, 197e12 / 100, 819e9 / 50, (Collective("all-reduce", 1, 10**8),))
    times = predict(compiled, "v5e")
    np.testing.assert_allclose([times.compute, times.memory], [0.01, 0.02])
    np.testing.assert_allclose(times.exchange, 2 * 15 / 16 * 1e8 / 100e9)
    np.testing.assert_allclose(times.total, times.memory + times.exchange)
    assert CHIPS["v5e"].memory == 16 * 2**30
    parted = compiled._replace(collectives=(Collective("reduce-scatter", 1, 10**8 // 16), Collective("all-gather", 1, 10**8)))
    np.testing.assert_allclose(predict(parted, "v5e").exchange, times.exchange)


@pytest.mark.parametrize("topology", ["v9:2x2", "v5e", "v5e:4by4"])
def test_unknown_pods_are_refused(topology, capsys):
    assert main(["show", RECIPE, "--topology", topology]) == 2
    assert "expected a topology such as v5e:4x4, of the kinds v4, v5e, v5p, v6e, got" in capsys.readouterr().err


def test_only_a_training_has_a_step(capsys):
    assert main(["show", "tests/pipelines/smoke.py", "--topology", "v5e:4x4"]) == 2
    assert "expected a recipe of one training beside --topology" in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="there is a libtpu")
def test_without_libtpu_it_says_what_to_install():
    with pytest.raises(ValueError, match=r"expected a pod to compile for, got v5e:4x4 .*pip install 'jaxinterp\[tpu\]'"):
        pod_mesh("v5e:4x4")

"""A training step compiled for a TPU pod that is not there: memory, work, collectives, and the time that follows from them."""

import dataclasses
import os
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxinterp import _mesh, models, training
from jaxinterp.pipelines._fit_settings import Fit
from jaxinterp.pipelines._loop import abstract_batch


class Chip(NamedTuple):
    """What the vendor publishes of a chip, all of its cores together.

    Attributes:
        flops: floating-point operations a second in bfloat16, at most.
        bandwidth: of its memory, bytes a second.
        memory: bytes.
        links: bytes a second to other chips, over all links in both directions.
        cores: each of which is a device.
    """

    flops: float
    bandwidth: float
    memory: float
    links: float
    cores: int = 1


CHIPS = {
    "v4": Chip(275e12, 1228e9, 32 * 2**30, 300e9, cores=2),
    "v5e": Chip(197e12, 819e9, 16 * 2**30, 200e9),
    "v5p": Chip(459e12, 2765e9, 95 * 2**30, 600e9),
    "v6e": Chip(918e12, 1640e9, 32 * 2**30, 448e9),
}
"""Kind -> figures, from the pages "TPU v4", "TPU v5e", "TPU v5p" and "TPU v6e" of the documentation of Google Cloud."""

_KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_REPEATED = re.compile(r"\b(channel_id=\d+),.*async_collective_fusion_config")
_COLLECTIVE = re.compile(rf"=\s*(?P<shape>\(.*?\)|\S+)\s+(?P<kind>{'|'.join(_KINDS)})(?P<half>-start|-done)?\(")


class Collective(NamedTuple):
    """What devices exchange in a step.

    Attributes:
        kind: as the compiler calls it.
        number: how many there are in the program.
        size: bytes that come out of them on one device.
    """

    kind: str
    number: int
    size: int


class Compiled(NamedTuple):
    """What is known of a step without running it; figures are of one device.

    Attributes:
        num_devices: of the pod.
        arguments: bytes of weights, optimiser and batch.
        temporaries: bytes that the step needs besides, at most at once.
        flops: floating-point operations.
        traffic: bytes read and written, as the compiler counts them.
        collectives: what is exchanged.
    """

    num_devices: int
    arguments: int
    temporaries: int
    flops: float
    traffic: float
    collectives: tuple[Collective, ...]


class Predicted(NamedTuple):
    """Seconds of a step, each by itself.

    Attributes:
        compute: at the chip's peak.
        memory: at the bandwidth of its memory.
        exchange: of a ring over half of the links, one direction of them.
        total: the larger of the first two, and the third, as if none of it overlapped.
    """

    compute: float
    memory: float
    exchange: float
    total: float


def pod_mesh(topology: str) -> Mesh:
    """The mesh over the devices of a pod that is not there.

    Args:
        topology: such as "v5e:4x4".

    Raises:
        ValueError: no such pod, or no libtpu.
    """
    from jax.experimental import topologies

    kind = topology.partition(":")[0]
    if kind not in CHIPS or not re.fullmatch(r"\d+(x\d+)+", topology.partition(":")[2]):
        raise ValueError(f"expected a topology such as v5e:4x4, of the kinds {', '.join(CHIPS)}, got {topology!r}.")
    settings = {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    try:
        devices = topologies.get_topology_desc(topology, platform="tpu").devices
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        remedy = "pip install 'jaxinterp[tpu]', or name another shape"
        raise ValueError(f"expected a pod to compile for, got {topology} ({reason}); {remedy}.") from error
    return Mesh(np.asarray(devices), (_mesh.AXIS,))


def compile_step(fit: Fit, mesh: Mesh) -> tuple[Compiled, str]:
    """Compiles the step of a training for the devices of a mesh, from shapes alone.

    Args:
        fit: the training.
        mesh: devices that may be elsewhere.

    Returns:
        What is known of it, and the compiler's text.

    Raises:
        ValueError: the devices do not divide the batch.
    """
    if fit.batch_size % mesh.size:
        raise ValueError(f"expected a batch_size that {mesh.size} devices share, got {fit.batch_size}; write a multiple.")
    model = models.abstract(fit.build)
    options = dataclasses.replace(fit.options, unroll=_mesh.prefers_unrolled(mesh))
    step = training.sharded_step(fit.objective, fit.optimizer, mesh, options=options)
    batch = abstract_batch(model.image_size, fit.batch_size)
    if fit.filling is not None:
        filling = fit.filling()
        batch = batch._replace(extra=jax.eval_shape(filling.fill, jax.random.key(0), filling.networks, batch))

    def begin(model: Any) -> training.TrainState:
        memory = fit.objective.remember(batch)
        return training.init_state(fit.optimizer, model, memory=memory, average=options.ema_decay is not None)

    def placed(sharding: Any, tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)

    state = jax.eval_shape(begin, model)
    state = jax.tree.map(placed, training.state_shardings(state, mesh, options=options), state)
    key = placed(_mesh.replicated(mesh), jax.eval_shape(lambda: jax.random.key(0)))
    compiled = step.lower(key, state, placed(_mesh.sharded(mesh), batch)).compile()  # pyright: ignore[reportFunctionMemberAccess]
    text = compiled.as_text()
    needed, cost = compiled.memory_analysis(), compiled.cost_analysis()
    found = Compiled(
        mesh.size,
        needed.argument_size_in_bytes,
        needed.temp_size_in_bytes,
        float(cost["flops"]),
        float(cost["bytes accessed"]),
        collectives(text.splitlines()),
    )
    return found, text


def collectives(lines: Iterable[str]) -> tuple[Collective, ...]:
    """The collectives of a compiled program; one that is begun and ended apart counts once.

    One that goes on beside other work is in the text of every fusion beside which it runs, on the same channel.

    Args:
        lines: of the compiler's text.
    """
    counts: dict[str, int] = dict.fromkeys(_KINDS, 0)
    sizes, seen = dict(counts), set()
    for line in lines:
        found, repeated = _COLLECTIVE.search(line), _REPEATED.search(line)
        if found is None or found["half"] == "-done":
            continue
        if repeated is not None:
            name = (found["kind"], found["shape"].partition("{")[0], repeated[1])
            if name in seen:
                continue
            seen.add(name)
        arrays = [
            _BYTES.get(dtype, 4) * int(np.prod([int(side) for side in shape.split(",") if side], dtype=np.int64))
            for dtype, shape in _ARRAY.findall(found["shape"])
        ]
        counts[found["kind"]] += 1
        # A collective that is begun, other than an all-reduce, shows what goes in before what comes out.
        begun = found["half"] == "-start" and found["kind"] != "all-reduce"
        sizes[found["kind"]] += max(arrays) if begun else sum(arrays)
    return tuple(Collective(kind, counts[kind], sizes[kind]) for kind in _KINDS if counts[kind])


def predict(compiled: Compiled, kind: str) -> Predicted:
    """The time of a step by the roofline of a chip, and of rings: an all-reduce sends `2 (n - 1) / n` of its bytes over a link.

    A reduce-scatter, of which a part of n comes out, and an all-gather send half of that.

    Args:
        compiled: of a step.
        kind: of chip, a key of `CHIPS`.
    """
    chip, cores = CHIPS[kind], CHIPS[kind].cores
    compute, memory = (work * cores / rate for work, rate in ((compiled.flops, chip.flops), (compiled.traffic, chip.bandwidth)))
    others = compiled.num_devices - 1
    factors = {"all-reduce": 2 * others / compiled.num_devices, "reduce-scatter": others}
    sent = sum(factors.get(one.kind, others / compiled.num_devices) * one.size for one in compiled.collectives)
    exchange = sent / (chip.links / 2)
    return Predicted(compute, memory, exchange, max(compute, memory) + exchange)


def topology_lines(fit: Fit, topology: str) -> list[str]:
    """What is known of a training's step on a pod, as lines of text.

    Args:
        fit: the training.
        topology: such as "v5e:4x4".
    """
    kind = topology.partition(":")[0]
    mesh = pod_mesh(topology)
    compiled, _ = compile_step(fit, mesh)
    chip, times, cores = CHIPS[kind], predict(compiled, kind), CHIPS[kind].cores
    needed, rows = (compiled.arguments + compiled.temporaries) * cores, fit.batch_size * cores // mesh.size
    lines = [
        f"{topology}: {mesh.size // cores} chips, {fit.batch_size:,} images a step, {rows} a chip",
        f"  memory a chip      {needed / 2**30:8.2f} GiB of {chip.memory / 2**30:.0f}"
        f" ({compiled.arguments * cores / 2**30:.2f} weights, optimiser and batch)",
        f"  work a chip        {compiled.flops * cores / 1e12:8.3f} TFLOP, {compiled.traffic * cores / 1e9:.1f} GB of traffic",
    ]
    lines += [f"  {one.kind:18} {one.size / 2**20:8.1f} MiB in {one.number}" for one in compiled.collectives]
    lines += [
        f"  predicted          {1e3 * times.total:8.2f} ms a step: {1e3 * times.compute:.2f} computing at the peak in bfloat16,"
        f" {1e3 * times.memory:.2f} at the memory's bandwidth, {1e3 * times.exchange:.2f} exchanging",
        f"                     {fit.batch_size / times.total:,.0f} images/s at most",
        "  Assumed: the vendor's peaks; the larger of computing and memory; a ring over half of the links, which overlaps with",
        "  nothing; the compiler's count of bytes, which takes each operand of a fusion once.",
    ]
    return lines

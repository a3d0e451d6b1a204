"""Adversarial images a second: the ensemble-optimization attack on the small networks of the concept world.

    python benchmarks/attack_throughput.py [--smoke] [--devices 2]

Compile and run are timed apart, after a warm-up; a JSON row with median and quartiles is appended to benchmarks/results/.
"""

import argparse
import json
import time

import _rows
import numpy as np


def main() -> None:
    """Times the attack and appends a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one short round")
    parser.add_argument("--devices", type=int, default=1, help="devices to split the batch over")
    known = parser.parse_args()
    import jax

    jax.config.update("jax_num_cpu_devices", known.devices)
    from jaxinterp import _mesh, attacks, data, models

    mesh = _mesh.data_mesh(known.devices)
    rounds, size, steps = (2, 8, 2) if known.smoke else (7, 64, 16)
    networks = jax.device_put((models.small_alexnet(), models.small_vgg16(), models.small_resnet18()), _mesh.replicated(mesh))
    batch = next(data.batches(data.concept_world(seed=0, num_images=size), batch_size=size, read_concepts=False))
    batch = jax.device_put(batch, _mesh.sharded(mesh))
    batch = batch._replace(target=attacks.least_likely(networks, batch.image, num_targets=1)[:, 0])
    attack = attacks.ensemble_optimization(num_steps=steps, distance_weight=1e4, decay=0.5)

    def seconds() -> float:
        start = time.perf_counter()
        jax.block_until_ready(attacks.run_batch(attack, networks, batch, key=jax.random.key(0)).adversarial)
        return time.perf_counter() - start

    first = seconds()
    runs = [seconds() for _ in range(rounds)]
    low, median, high = np.quantile(runs, [0.25, 0.5, 0.75])
    row = {
        "benchmark": "attack_throughput",
        "images_per_second": [round(size / float(value), 2) for value in (high, median, low)],
        "compile_seconds": round(first - float(median), 2),
        "images": size,
        "steps": steps,
        "models": 3,
        "devices": mesh.size,
        "smoke": known.smoke,
    } | _rows.place()
    print(json.dumps(row))
    if not known.smoke:
        _rows.append(_rows.path("attack_throughput"), row)


if __name__ == "__main__":
    main()

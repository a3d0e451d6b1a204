"""NetDissect-Lite's side of the benchmark of dissection, in a process of its own: prints the seconds of its steps as JSON.

    python benchmarks/_lite.py CHECKOUT FOLDER [WEIGHTS]

Its code runs as it is in the checkout (.ci/peers/dissection/lite.py); its steps are those of its main.py: features of
ResNet-18's `layer4` into a file of float64, thresholds by a sketch, the tally. The tally runs once more with the label maps in
memory.
"""

import importlib
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]


def main() -> None:
    """Runs and prints."""
    checkout, folder, *weights = sys.argv[1:]
    sys.path[:0] = [str(ROOT / ".ci" / "peers"), str(ROOT / ".ci" / "peers" / "dissection")]
    lite, torch = importlib.import_module("lite"), importlib.import_module("torch")
    network = importlib.import_module("packages").torchvision.models.resnet18().eval()
    if weights:
        network.load_state_dict(importlib.import_module("safetensors.torch").load_file(weights[0]), strict=False)
    with tempfile.TemporaryDirectory() as scratch:
        found = lite.Lite(checkout, pathlib.Path(folder), pathlib.Path(scratch), image_size=224, threads=False)
        seconds: dict[str, float] = {}

        def timed(name: str, run: Callable[[], Any]) -> Any:
            start = time.perf_counter()
            result = run()
            seconds[name] = time.perf_counter() - start
            return result

        features = timed("features", lambda: found.features(network))
        thresholds = timed("thresholds", lambda: found.thresholds(features))
        timed("tally", lambda: found.labels(features, thresholds))
        loader = sys.modules["loader.data_loader"].SegmentationPrefetcher
        kept = list(loader(found.data, categories=found.categories, once=True, batch_size=16).batches())
        loader.batches = lambda self: iter(kept)
        before = time.process_time()
        timed("tally in memory", lambda: found.counts(features, thresholds))
        seconds["tally cpu"] = time.process_time() - before
        print(json.dumps({"images": len(features), "seconds": seconds, "torch": torch.__version__}))


if __name__ == "__main__":
    main()

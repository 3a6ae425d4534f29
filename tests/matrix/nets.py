# SPDX-License-Identifier: Apache-2.0
"""The networks that the matrix runs: int8 graph and samples of each, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from acsgen.graph import AvgPool, Graph, MaxPool
from acsgen.graph.ops import Padding
from acsgen.quantize import quantize
from acsgen.resources import resource_dir
from acsgen.samples import Samples, load_samples
from tests.graphs import Builder, mixed

Net = tuple[Graph, Samples]

SAMPLES = 6


def kernels() -> Net:
    """A network for 16 KB of RAM, with every kernel: layers that skip in a row, and joins of what is left."""
    b = Builder(np.random.default_rng(7), (8, 8, 3))
    stem = b.relu(b.pad(b.conv("x", 8, activation="relu6"), Padding(0, 1, 0, 1)))
    gate = b.gate(stem, 4)
    wide = b.mask(b.conv(stem, 16, stride=(2, 2)), gate)
    pooled = b.mask(b.pool(b.depthwise(wide), MaxPool, (3, 3), (1, 1), same=True), gate)
    narrow = b.conv(b.mask(b.pool(pooled, AvgPool), gate), 8, (1, 1))
    # A part that comes twice cannot lie in both places: it is copied.
    whole = b.concat(narrow, b.mask(b.conv(b.relu(b.batch_norm(narrow)), 8), b.gate(narrow, 2)), narrow)
    narrow = b.conv(b.relu(b.batch_norm(whole)), 8, (1, 1))
    grouped = b.mask(b.conv(narrow, 8, groups=2), b.gate(narrow, 4))
    summed = b.add(grouped, b.shuffle(narrow, [1, 0, 3, 2, 5, 4, 7, 6]), activation="relu")
    joined = b.concat(summed, b.dgconv(narrow, mixed(b.rng, 8, 4)))
    output = b.dense(b.flatten(b.global_pool(joined)), 5)
    return quantize(b.graph(output), b.samples), Samples(b.samples[:SAMPLES], None)


def small() -> Net:
    """A network of few layers, one of them gated, for the smallest of the boards."""
    b = Builder(np.random.default_rng(3), (8, 8, 3))
    stem = b.conv("x", 8, stride=(2, 2), activation="relu")
    features = b.conv(b.mask(b.conv(stem, 8, activation="relu"), b.gate(stem, 4)), 8, (1, 1))
    output = b.dense(b.flatten(b.global_pool(features)), 5)
    return quantize(b.graph(output), b.samples), Samples(b.samples[:SAMPLES], None)


def demo() -> Net:
    """The network that acsgen ships."""
    from acsgen.frontend.keras import load_keras

    files = resource_dir("demo")
    network = load_keras(files / "fashion_acs.keras")
    graph = quantize(network, load_samples(files / "calibration.npz", network).x)
    return graph, load_samples(files / "test.npz", network).first(SAMPLES)


def _of_the_zoo(member: str, **arguments: Any) -> Callable[[], Net]:
    """A network of the zoo with drawn weights, its gates set so that their bits differ between images."""

    def make() -> Net:
        from acsgen.frontend.keras import load_keras
        from tests.nn.test_zoo import ZOO, awake

        images = np.random.default_rng(5).random((32, *arguments["input_shape"]), np.float32)
        model = awake(ZOO[member].build(seed=1, **arguments), images=images)
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"{member}.keras"
            model.save(path)
            return quantize(load_keras(path), images), Samples(images[:SAMPLES], None)

    return make


#: By name. "kernels" is made without TensorFlow.
NETS: dict[str, Callable[[], Net]] = {
    "kernels": kernels,
    "demo": demo,
    "acs_resnet": _of_the_zoo(
        "acs_resnet", input_shape=(16, 16, 3), stem=8, stem_stride=1, widths=(8, 16), strides=(1, 2), classes=4
    ),
    "acs_densenet": _of_the_zoo(
        "acs_densenet", input_shape=(16, 16, 3), stem=8, growth=8, bottleneck=16, blocks=(2, 2), classes=4
    ),
}

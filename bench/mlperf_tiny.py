# SPDX-License-Identifier: Apache-2.0
"""The four networks of the MLPerf Tiny benchmark by their shape, with random weights: what published figures are of."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from acsgen.graph import Graph
from acsgen.tf_start import start_tensorflow


def image_classification() -> Any:
    """ResNet8 for images of 32x32x3, 10 classes."""
    from acsgen.nn.zoo import RESNET8, acs_resnet

    return acs_resnet(**RESNET8, gated=False, seed=0, name="resnet8")


def keyword_spotting() -> Any:
    """DS-CNN for spectrograms of 49x10, 12 classes."""
    return _separable("ds_cnn", (49, 10, 1), (64, (10, 4), 2), [(64, 1)] * 4, 12)


def visual_wake_words() -> Any:
    """MobileNet, a quarter as wide, for images of 96x96x3, 2 classes."""
    blocks = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)]
    return _separable("mobilenet", (96, 96, 3), (8, (3, 3), 2), blocks, 2)


def anomaly_detection() -> Any:
    """Autoencoder of ten dense layers for 640 values."""
    import keras
    from keras import layers

    x = inputs = keras.Input((640,))
    for number, units in enumerate((128, 128, 128, 128, 8, 128, 128, 128, 128)):
        x = layers.Dense(units, name=f"dense{number}")(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(640, name="out")(x), name="autoencoder")


def _separable(
    name: str,
    shape: tuple[int, int, int],
    stem: tuple[int, tuple[int, int], int],
    blocks: list[tuple[int, int]],
    classes: int,
) -> Any:
    """A convolution (filters, kernel, stride), depthwise separable ones (filters, stride), a pool, a dense layer."""
    import keras
    from keras import layers

    def finished(x: Any) -> Any:
        return layers.ReLU()(layers.BatchNormalization()(x))

    filters, kernel, stride = stem
    inputs = keras.Input(shape)
    x = finished(layers.Conv2D(filters, kernel, stride, "same", use_bias=False)(inputs))
    for filters, stride in blocks:
        x = finished(layers.DepthwiseConv2D(3, stride, "same", use_bias=False)(x))
        x = finished(layers.Conv2D(filters, 1, use_bias=False)(x))
    return keras.Model(inputs, layers.Dense(classes, name="head")(layers.GlobalAveragePooling2D()(x)), name=name)


NETWORKS: dict[str, Callable[[], Any]] = {
    "resnet8": image_classification,
    "ds_cnn": keyword_spotting,
    "mobilenet": visual_wake_words,
    "autoencoder": anomaly_detection,
}


def network(name: str, samples: int = 16) -> Graph:
    """One of NETWORKS, int8, calibrated with noise; the same at every call."""
    start_tensorflow(1)
    import keras

    from acsgen.frontend.keras import load_keras
    from acsgen.quantize import quantize

    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.keras"
        NETWORKS[name]().save(path)
        graph = load_keras(path)
    noise = np.random.default_rng(0).uniform(size=(samples, *graph.shape(graph.input)))
    return quantize(graph, noise.astype(np.float32))

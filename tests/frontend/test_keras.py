# SPDX-License-Identifier: Apache-2.0
"""Saved Keras models become float graphs that compute the same, or an error that names the layer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from acsgen.errors import AcsgenError
from acsgen.frontend.keras import load_keras, read_model
from acsgen.graph import Add, Conv2D, Gate, Graph, Relu
from acsgen.graph.evaluate import evaluate
from acsgen.nn import ApplyMask, ChannelGate, DGConv2D
from acsgen.quantize import prepare
from tests.frontend.keras_archive import rewrite_config

Make = Callable[[], Any]
SHAPE = (9, 8, 4)


def image() -> Any:
    return keras.Input(SHAPE, name="x")


def straight(*chain: Any, shape: tuple[int, ...] = SHAPE) -> Any:
    """One layer after the other."""
    inputs = tensor = keras.Input(shape, name="x")
    for layer in chain:
        tensor = layer(tensor)
    return keras.Model(inputs, tensor)


def residual() -> Any:
    x = image()
    a = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(x))
    b = layers.Conv2D(8, 1)(x)
    return keras.Model(x, layers.ReLU()(layers.Add()([a, b])))


def sum_operator() -> Any:
    x = image()
    return keras.Model(x, layers.Conv2D(4, 3, padding="same")(x) + x)


def shared_layer() -> Any:
    x = image()
    conv = layers.Conv2D(4, 3, padding="same", activation="relu", name="shared")
    return keras.Model(x, layers.Add()([conv(conv(x)), x]))


def shared_pool() -> Any:
    x = image()
    pool = layers.GlobalAveragePooling2D()
    return keras.Model(x, layers.Add()([pool(x), pool(layers.Conv2D(4, 3)(x))]))


def gated(flat_logits: bool = True) -> Any:
    """A learned grouping whose channels a gate closes group by group, in an order of the mask's own."""
    x = image()
    features = layers.ReLU(6.0)(layers.BatchNormalization()(DGConv2D(4, 3)(layers.Conv2D(4, 1)(x))))
    pooled = layers.GlobalAveragePooling2D(keepdims=not flat_logits)(x)
    mask = ChannelGate()(layers.Dense(2)(pooled) if flat_logits else layers.Conv2D(2, 1)(pooled))
    if not flat_logits:
        mask = layers.Flatten()(mask)
    return keras.Model(x, layers.Conv2D(3, 1)(ApplyMask([1, 0, 1, 0])([features, mask])))


def dense_net() -> Any:
    """Layers that read all before them, each under a mask of its own."""
    x = image()
    joined = layers.Conv2D(4, 3, padding="same")(x)
    for _ in range(2):
        new = layers.Conv2D(6, 3, padding="same")(layers.ReLU()(layers.BatchNormalization()(joined)))
        mask = ChannelGate()(layers.Dense(3)(layers.GlobalAveragePooling2D()(joined)))
        joined = layers.Concatenate()([joined, ApplyMask([0, 1, 2, 1, 0, 2])([new, mask])])
    return keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(joined)))


def joined_vectors() -> Any:
    x = image()
    pools = [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x), layers.Flatten()(x)]
    return keras.Model(x, layers.Dense(3)(layers.Concatenate(axis=1)(pools)))


def signal(shape: tuple[int, int] = (20, 3)) -> Any:
    return keras.Input(shape, name="x")


def gated_signal() -> Any:
    """Masks on a signal, on what was joined and on a vector."""
    x = signal()
    mask = ChannelGate()(layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))
    a = layers.Conv1D(4, 5, padding="causal", activation="relu")(x)
    b = layers.Conv1D(4, 3, padding="same")(x)
    joined = ApplyMask([0, 1, 0, 1, 1, 0, 1, 0])([layers.Concatenate()([a, b]), mask])
    grouped = layers.Reshape((20, 8))(DGConv2D(8, (1, 3))(layers.Reshape((1, 20, 8))(joined)))
    hidden = ApplyMask([0, 0, 1, 1])([layers.Dense(4)(layers.Flatten()(layers.MaxPooling1D(2)(grouped))), mask])
    return keras.Model(x, layers.Dense(3)(hidden))


def statistics(values: tuple[float, ...]) -> Any:
    return layers.Normalization(mean=[v / 2 for v in values], variance=[v * v + 0.5 for v in values])


def sequential() -> Any:
    return keras.Sequential([image(), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2)])


SUPPORTED: dict[str, Make] = {
    "valid": lambda: straight(layers.Conv2D(5, 3)),
    "same": lambda: straight(layers.Conv2D(5, (3, 2), padding="same", activation="relu")),
    "even kernel, stride": lambda: straight(layers.Conv2D(5, 2, strides=(2, 3), padding="same")),
    "stride without padding": lambda: straight(layers.Conv2D(5, 3, strides=2)),
    "stride larger than kernel": lambda: straight(layers.Conv2D(5, 1, strides=3, padding="same")),
    "dilation": lambda: straight(layers.Conv2D(5, 3, dilation_rate=(2, 1), padding="same")),
    "grouped": lambda: straight(layers.Conv2D(6, 3, groups=2, use_bias=False)),
    "depthwise": lambda: straight(layers.DepthwiseConv2D(3, padding="same", activation="relu6")),
    "depthwise, stride": lambda: straight(layers.DepthwiseConv2D(3, strides=2, use_bias=False)),
    "depthwise, dilation": lambda: straight(layers.DepthwiseConv2D(3, dilation_rate=2, padding="same")),
    "depthwise, several filters a channel": lambda: straight(
        layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu")
    ),
    "depthwise, several filters of one channel": lambda: straight(
        layers.DepthwiseConv2D(3, strides=2, depth_multiplier=5), shape=(9, 8, 1)
    ),
    "separable": lambda: straight(layers.SeparableConv2D(5, 3, strides=2, padding="same", activation="relu")),
    "separable, several filters a channel": lambda: straight(
        layers.SeparableConv2D(5, 3, dilation_rate=2, depth_multiplier=3, use_bias=False)
    ),
    "learned groups": lambda: straight(DGConv2D(4, 3, use_bias=True), DGConv2D(4, 2, strides=2, padding="valid")),
    "dense": lambda: straight(layers.Dense(7, activation="relu"), layers.Dense(3), shape=(11,)),
    "dense on an image": lambda: straight(layers.Dense(5, activation="relu"), layers.Dense(2)),
    "reshapes": lambda: straight(
        layers.Reshape((72, 4)),
        layers.Conv1D(3, 3),
        layers.Reshape((7, 10, 3)),
        layers.Conv2D(2, 3),
        layers.Reshape((5 * 8 * 2,)),
        layers.Reshape((16, 5, 1)),
        layers.Conv2D(2, 3),
    ),
    "flatten": lambda: straight(layers.Flatten(), layers.Flatten(), layers.Dense(3)),
    "pools": lambda: straight(
        layers.AveragePooling2D((3, 2), strides=(2, 1), padding="same"), layers.MaxPooling2D(2, padding="same")
    ),
    "pools without padding": lambda: straight(layers.MaxPooling2D(2), layers.AveragePooling2D((2, 3), strides=1)),
    "global average": lambda: straight(layers.GlobalAveragePooling2D(), layers.Dense(2)),
    "global maximum": lambda: straight(layers.GlobalMaxPooling2D(keepdims=True), layers.Conv2D(2, 1)),
    "batch norms": lambda: straight(
        layers.BatchNormalization(),
        layers.Conv2D(4, 3),
        layers.BatchNormalization(scale=False),
        layers.ReLU(),
        layers.BatchNormalization(center=False, axis=3, epsilon=0.1),
        layers.Flatten(),
        layers.Dense(4),
        layers.BatchNormalization(),
    ),
    "padding": lambda: straight(
        layers.ZeroPadding2D(((1, 0), (2, 3))),
        layers.Conv2D(4, 3, activation="relu"),
        layers.ZeroPadding2D(1),
        layers.MaxPooling2D(3),
        layers.ZeroPadding2D((0, 1)),
        layers.DepthwiseConv2D(2, padding="same"),
        layers.ZeroPadding2D(2),
    ),
    "rescaling": lambda: straight(layers.Rescaling(0.5), layers.Conv2D(4, 3, padding="same")),
    "rescaling of channels": lambda: straight(
        layers.Rescaling([0.5, 2.0, -1.0, 3.0], [0.1, 0.2, 0.3, 0.4]), layers.Conv2D(4, 3, padding="same")
    ),
    "normalization": lambda: straight(statistics((1.0, -2.0, 3.0, 4.0)), layers.Conv2D(4, 3)),
    "normalization, adapted": lambda: straight(layers.Normalization(), layers.Flatten(), layers.Dense(4)),
    "normalization by one number": lambda: straight(layers.Normalization(axis=None), layers.Conv2D(4, 3)),
    "activations": lambda: straight(
        layers.Conv2D(4, 3), layers.ReLU(6.0), layers.Activation("relu"), layers.Activation("linear")
    ),
    "idle layers": lambda: straight(
        layers.Dropout(0.5), layers.SpatialDropout2D(0.5), layers.GaussianNoise(1.0), layers.Identity()
    ),
    "concatenations": dense_net,
    "concatenation of vectors": joined_vectors,
    "signal": lambda: straight(
        layers.Conv1D(6, 5, strides=2, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.SpatialDropout1D(0.2),
        layers.DepthwiseConv1D(3, padding="same", dilation_rate=2, use_bias=False),
        layers.MaxPooling1D(3, strides=2, padding="same"),
        layers.Conv1D(4, 2, groups=2),
        layers.Flatten(),
        layers.Dense(3),
        shape=(40, 3),
    ),
    "signal, causal": lambda: straight(
        layers.Conv1D(4, 3, padding="causal", dilation_rate=4), layers.Conv1D(2, 2, padding="causal"), shape=(21, 3)
    ),
    "signal, padding": lambda: straight(
        layers.ZeroPadding1D((2, 1)), layers.Conv1D(4, 3, strides=2), layers.ZeroPadding1D(1), shape=(15, 2)
    ),
    "signal, pools": lambda: straight(
        layers.AveragePooling1D(3, strides=2, padding="same"), layers.MaxPooling1D(2), shape=(15, 2)
    ),
    "signal, global average": lambda: straight(layers.GlobalAveragePooling1D(), layers.Dense(2), shape=(9, 3)),
    "signal, global maximum": lambda: straight(
        layers.GlobalMaxPooling1D(keepdims=True), layers.Conv1D(3, 1), shape=(9, 3)
    ),
    "signal, separable, dense": lambda: straight(
        layers.SeparableConv1D(4, 3, depth_multiplier=2), layers.Dense(2), shape=(9, 3)
    ),
    "signal of one channel": lambda: straight(
        layers.Reshape((30, 1)), layers.Conv1D(4, 5), layers.Rescaling(2.0, 1.0), shape=(30,)
    ),
    "signal, gates": gated_signal,
    "residual": residual,
    "a + b": sum_operator,
    "shared layer": shared_layer,
    "shared pool": shared_pool,
    "gate": gated,
    "gate on an image": lambda: gated(flat_logits=False),
    "sequential": sequential,
}


def randomise(model: Any, seed: int = 1) -> None:
    """Every weight something, also the statistics of batch normalisations."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        low = 0.5 if "variance" in weight.name else -1.0
        if weight.dtype == "float32":
            weight.assign(rng.uniform(low, 1.5, weight.shape))
    for layer in model.layers:
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()  # as after adapt()


def saved(model: Any, folder: Path) -> Path:
    path = folder / "net.keras"
    model.save(path)
    return path


def inputs(graph: Graph, count: int = 6) -> np.ndarray:
    """Samples of different brightness, between which gates can tell."""
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(count, *graph.shape(graph.input)))
    return (noise + rng.normal(0, 2, size=(count, *[1] * (noise.ndim - 2), noise.shape[-1]))).astype(np.float32)


def agrees(graph: Graph, x: np.ndarray, wanted: np.ndarray) -> None:
    got = evaluate(graph, x)[graph.output]
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", SUPPORTED.values(), ids=SUPPORTED)
def test_a_saved_model_computes_the_same(make: Make, tmp_path: Path) -> None:
    model = make()
    randomise(model)
    graph = load_keras(saved(model, tmp_path))
    assert graph.shape(graph.input) == model.input_shape[1:]
    x = inputs(graph)
    wanted = np.asarray(model(x, training=False))
    agrees(graph, x, wanted)
    agrees(prepare(graph), x, wanted)
    assert len({op.name for op in graph.ops}) == len(graph.ops)


def test_it_is_what_predict_gives(tmp_path: Path) -> None:
    model = gated()
    randomise(model)
    graph = load_keras(saved(model, tmp_path))
    x = inputs(graph, 40)
    agrees(graph, x, model.predict(x, verbose=0))
    masks = evaluate(graph, x)[graph.gates[0].output]
    assert len(np.unique(masks, axis=0)) > 1


@pytest.mark.parametrize(
    "last",
    [
        lambda: [layers.Dense(3, activation="softmax")],
        lambda: [layers.Dense(3), layers.Softmax()],
        lambda: [layers.Dense(3), layers.Activation("softmax")],
    ],
)
def test_a_final_softmax_is_left_to_the_host(last: Callable[[], list[Any]], tmp_path: Path) -> None:
    model = straight(layers.Flatten(), *last())
    graph = load_keras(saved(model, tmp_path))
    x = inputs(graph)
    logits = np.exp(evaluate(graph, x)[graph.output])
    wanted = np.asarray(model(x))
    np.testing.assert_allclose(logits / logits.sum(axis=1, keepdims=True), wanted, rtol=1e-4)


def test_graph_keeps_names_and_structure(tmp_path: Path) -> None:
    graph = load_keras(saved(shared_layer(), tmp_path))
    assert graph.name == "net" and graph.input == "x"
    assert [op.name for op in graph.ops[:4]] == ["shared/linear", "shared", "shared_2/linear", "shared_2"]
    assert [type(op) for op in graph.ops] == [Conv2D, Relu, Conv2D, Relu, Add]
    (gate,) = load_keras(saved(gated(), tmp_path)).gates
    assert isinstance(gate, Gate)


def test_a_compiled_and_trained_model_is_read_without_a_word(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = straight(layers.Conv2D(2, 3))
    model.compile("adam", "mse")
    model.fit(np.zeros((2, *SHAPE)), np.zeros((2, 7, 6, 2)), verbose=0)
    path = saved(model, tmp_path)
    capfd.readouterr()
    load_keras(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["conv*", 'a"b', "a\nb", "a@4", "Faltung für*"])
def test_names_are_fit_for_comments(name: str, tmp_path: Path) -> None:
    graph = load_keras(saved(straight(layers.Conv2D(2, 1, activation="relu", name=name)), tmp_path))
    for text in (*graph.tensors, *(op.name for op in graph.ops)):
        assert "*/" not in text and "@" not in text and '"' not in text and text.isprintable()


def test_two_names_that_become_one_stay_two(tmp_path: Path) -> None:
    graph = load_keras(saved(straight(layers.Conv2D(2, 1, name="a*"), layers.Conv2D(2, 1, name="a?")), tmp_path))
    assert [op.name for op in graph.ops] == ["a_", "a__2"]


# --- what is refused -------------------------------------------------------------------------------


def two_inputs() -> Any:
    a, b = keras.Input(SHAPE), keras.Input(SHAPE)
    return keras.Model([a, b], layers.Add()([a, b]))


def two_outputs() -> Any:
    x = image()
    return keras.Model(x, [layers.Flatten()(x), layers.Conv2D(2, 1)(x)])


def mask_that_is_no_gate() -> Any:
    x = image()
    share = layers.Dense(2, activation="relu", name="soft")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(x, ApplyMask([0, 0, 1, 1], name="mask")([x, share]))


def mask_read_as_a_number() -> Any:
    return straight(
        layers.GlobalAveragePooling2D(), layers.Dense(2), ChannelGate(name="gate"), layers.Dense(2, name="reads")
    )


def mask_as_output() -> Any:
    return straight(layers.GlobalAveragePooling2D(), layers.Dense(2), ChannelGate(name="gate"))


def summed(*others: Callable[[Any], Any]) -> Any:
    x = image()
    return keras.Model(x, layers.Add(name="sum")([x, *(other(x) for other in others)]))


def joined(layer: Any, other: Any, shape: tuple[int, ...] = SHAPE) -> Any:
    x = keras.Input(shape, name="x")
    return keras.Model(x, layer([x, other(x)]))


def joined_masks() -> Any:
    x = image()
    features = layers.GlobalAveragePooling2D()(x)
    mask = ChannelGate(name="gate")(layers.Dense(2)(features))
    return keras.Model(x, layers.Dense(2)(layers.Concatenate(name="join")([features, mask])))


def nested() -> Any:
    x = image()
    return keras.Model(x, keras.Sequential([layers.Conv2D(4, 3)], name="inner")(x))


def quantised_by_keras() -> Any:
    model = straight(layers.Flatten(), layers.Dense(3, name="d"))
    model.get_layer("d").quantize("int8")
    return model


UNSUPPORTED: dict[str, tuple[Make, str]] = {
    "layer": (
        lambda: straight(layers.Conv2D(4, 3, name="c"), layers.UpSampling2D(name="up")),
        r"layer 'up' \(UpSampling2D, reads 'c'\): this layer is not supported; these are: Activation, Add, ",
    ),
    "operation": (
        lambda: straight(layers.Conv2D(4, 3, name="c"), keras.ops.relu),
        r"layer '\w+' \(Relu, reads 'c'\): this layer is not supported",
    ),
    "model in a model": (nested, r"layer 'inner' \(Sequential, reads 'x'\): this layer is not supported"),
    "two inputs": (two_inputs, "has 2 inputs and 1 outputs, one of each is supported"),
    "two outputs": (two_outputs, "has 1 inputs and 2 outputs, one of each is supported"),
    "product": (
        lambda: joined(layers.Multiply(name="by"), layers.ReLU(name="r")),
        r"layer 'by' \(Multiply, reads 'x' and 'r'\): this layer is not supported; these are: Activation, Add, ",
    ),
    "joined rows": (
        lambda: joined(layers.Concatenate(axis=1, name="rows"), layers.ReLU(name="r")),
        r"layer 'rows' \(Concatenate, reads 'x' and 'r'\): joining along axis 1 \(of the channels only: -1\) is not",
    ),
    "joined signals": (
        lambda: joined(layers.Concatenate(axis=1, name="t"), layers.ReLU(name="r"), shape=(9, 2)),
        r"layer 't' \(Concatenate, reads 'x' and 'r'\): joining along axis 1",
    ),
    "joined masks": (joined_masks, "Concatenate 'join': reads the mask of gate 'gate', which only ApplyMask may"),
    "four axes": (
        lambda: straight(layers.Reshape((9, 4, 2, 4), name="r")),
        r"layer 'r' \(Reshape, reads 'x'\): a shape with 4 axes, \(9, 4, 2, 4\), is not supported",
    ),
    "normalization backwards": (
        lambda: straight(layers.Normalization(invert=True, name="n")),
        r"layer 'n' \(Normalization, reads 'x'\): invert=True is not supported",
    ),
    "normalization of rows": (
        lambda: straight(layers.Normalization(axis=1, name="n")),
        r"layer 'n' .* a scale of shape \(1, 9, 1, 1\), with more than one number for each channel is not supported",
    ),
    "unknown size": (
        lambda: straight(layers.Conv2D(2, 1), shape=(None, None, 3)),  # type: ignore[arg-type]
        r"its input must have a fixed shape \(H, W, C\), \(T, C\) or \(C,\), not \(None, None, 3\)",
    ),
    "unknown length": (
        lambda: straight(layers.Conv1D(2, 1), shape=(None, 3)),  # type: ignore[arg-type]
        r"its input must have a fixed shape \(H, W, C\), \(T, C\) or \(C,\), not \(None, 3\)",
    ),
    "volume": (
        lambda: straight(layers.Flatten(), shape=(3, 4, 5, 6)),
        r"its input must have a fixed shape \(H, W, C\), \(T, C\) or \(C,\), not \(3, 4, 5, 6\)",
    ),
    "channels first": (
        lambda: straight(layers.MaxPooling2D(2, data_format="channels_first", name="p")),
        r"layer 'p' \(MaxPooling2D, reads 'x'\): data_format 'channels_first'.* is not supported",
    ),
    "softmax in the middle": (
        lambda: straight(layers.Softmax(name="s"), layers.Conv2D(2, 1)),
        r"layer 's' \(Softmax, reads 'x'\): a softmax that is not the last layer is not supported",
    ),
    "softmax activation in the middle": (
        lambda: straight(layers.Conv2D(2, 1, activation="softmax", name="s"), layers.Conv2D(2, 1)),
        r"layer 's' \(Conv2D, reads 'x'\): activation 'softmax' is not supported",
    ),
    "activation": (
        lambda: straight(layers.Conv2D(2, 1, activation="sigmoid", name="c")),
        r"layer 'c' \(Conv2D, reads 'x'\): activation 'sigmoid' is not supported",
    ),
    "activation as a layer": (
        lambda: straight(layers.Conv2D(2, 1, activation=layers.LeakyReLU(), name="c")),
        r"layer 'c' \(Conv2D, reads 'x'\): its activation \(LeakyReLU\) is not supported",
    ),
    "leaky": (
        lambda: straight(layers.ReLU(negative_slope=0.1, name="r")),
        "layer 'r' .* a ReLU with a slope, a threshold or a maximum other than 6 is not supported",
    ),
    "maximum": (lambda: straight(layers.ReLU(max_value=3.0)), "a maximum other than 6 is not supported"),
    "batch norm over rows": (
        lambda: straight(layers.BatchNormalization(axis=1, name="b")),
        "layer 'b' .* axis 1 is not supported",
    ),
    "sum of three": (lambda: summed(layers.ReLU(), layers.ReLU()), "layer 'sum' .* adding 3 tensors"),
    "sum of two shapes": (
        lambda: summed(layers.GlobalMaxPooling2D(keepdims=True)),
        r"layer 'sum' .* adding 2 tensors of shapes \(9, 8, 4\), \(1, 1, 4\) is not supported",
    ),
    "mask that is no gate": (mask_that_is_no_gate, "ApplyMask 'mask': its mask 'soft' does not come from a gate"),
    "mask read as a number": (mask_read_as_a_number, "Dense 'reads': reads the mask of gate 'gate', which only Apply"),
    "mask as output": (mask_as_output, "output of graph 'net' is the mask of gate 'gate'"),
    "quantised by Keras": (quantised_by_keras, r"layer 'd' \(Dense, reads '\w+'\): its dtype \(QuantizedDTypePolicy\)"),
}


@pytest.mark.parametrize(("make", "message"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_unsupported(make: Make, message: str, tmp_path: Path) -> None:
    with pytest.raises(AcsgenError, match=message) as raised:
        load_keras(saved(make(), tmp_path))
    assert "\n" not in str(raised.value)


def test_a_lambda_does_not_run(tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    path = saved(straight(layers.Lambda(lambda x: [os.mkdir(mark), x][1], name="l")), tmp_path)  # noqa: PTH102
    Path(mark).rmdir()
    with pytest.raises(AcsgenError, match=r"layer 'l' \(Lambda, reads 'x'\): this layer is not supported"):
        load_keras(path)
    assert not Path(mark).exists()


def test_a_live_model_is_checked_like_a_file() -> None:
    with pytest.raises(AcsgenError, match="activation 'LeakyReLU' is not supported"):
        read_model(straight(layers.Conv2D(2, 1, activation=layers.LeakyReLU())))
    with pytest.raises(AcsgenError, match=r"quantisation 'int8' by Keras \(give the float model\) is not supported"):
        read_model(quantised_by_keras())
    with pytest.raises(AcsgenError, match="has no graph yet: give it an Input"):
        read_model(keras.Sequential([layers.Conv2D(2, 1)]))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("kernel", np.nan, r"layer 'c' \(Conv2D\): NaN or infinity in its kernel: .* take another checkpoint"),
        ("bias", np.inf, "layer 'c' .* in its bias"),
        ("gamma", np.nan, r"layer 'b' \(BatchNormalization\): NaN or infinity in its gamma"),
        ("moving_variance", -1.0, "layer 'b' .* a variance that is not above zero"),
        ("gate", np.nan, r"layer 'g' \(DGConv2D\): NaN or infinity in its gate"),
    ],
)
def test_weights_that_are_no_numbers(name: str, value: float, message: str, tmp_path: Path) -> None:
    model = straight(layers.Conv2D(4, 3, name="c"), layers.BatchNormalization(name="b"), DGConv2D(4, 1, name="g"))
    weight = next(w for w in model.weights if w.name == name)
    values = np.asarray(weight).copy()
    values.flat[0] = value
    weight.assign(values)
    with pytest.raises(AcsgenError, match=message):
        load_keras(saved(model, tmp_path))


def test_weights_that_do_not_fit_the_layers(tmp_path: Path) -> None:
    path = saved(straight(layers.Conv2D(4, 3, name="c")), tmp_path)

    def widen(config: Any) -> None:
        config["config"]["layers"][1]["config"]["filters"] = 5

    rewrite_config(path, widen)
    with pytest.raises(AcsgenError, match=r"net\.keras: Keras cannot load this checkpoint: ") as raised:
        load_keras(path)
    assert "\n" not in str(raised.value)

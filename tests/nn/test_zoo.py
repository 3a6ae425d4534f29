# SPDX-License-Identifier: Apache-2.0
"""The networks of the zoo: what they are made of, what they cost, and that gates and twins fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from acsgen.frontend.keras import load_keras, read_model
from acsgen.graph.evaluate import evaluate
from acsgen.nn.layers import ApplyMask, ChannelGate, DGConv2D
from acsgen.nn.macs import mac_table
from acsgen.nn.zoo import (
    CONVOLUTIONS,
    GATES,
    RESNET8,
    ZOO,
    Block,
    acs_bottleneck_resnet,
    acs_densenet,
    acs_mobilenet,
    acs_resnet,
    densenet40,
    g_resnext,
    gated_twin,
)
from acsgen.nn.zoo.builder import builder, scaled
from acsgen.nn.zoo.gates import Gate, add_gate
from acsgen.plan import plan
from acsgen.quantize import prepare

SMALL: dict[str, dict[str, Any]] = {
    "acs_resnet": {"stem": 8, "widths": (8, 16), "strides": (1, 2)},
    "acs_densenet": {"stem": 8, "growth": 8, "bottleneck": 16, "blocks": (1, 2)},
    "acs_mobilenet": {"stem": 8, "widths": (8, 8, 16), "strides": (1, 1, 2)},
    "g_resnext": {"stem": 8, "blocks": (Block("a", 8, 8, 2), Block("b", 16, 12, 4, 2))},
    "acs_bottleneck_resnet": {"stem": 8, "blocks": (Block("a", 8, 8, 2), Block("b", 16, 12, 4, 2))},
}
GATED = [name for name, member in ZOO.items() if member.gated]
# An even and an odd side, so that windows and paddings differ between them.
SHAPE = (8, 10, 2)
IMAGES = np.random.default_rng(0).random((8, *SHAPE), np.float32)


def small(name: str, **arguments: Any) -> keras.Model:
    return ZOO[name].build(**{"input_shape": SHAPE, "classes": 3, **SMALL[name], **arguments})


def awake(model: keras.Model, seed: int = 1, images: Any = IMAGES) -> keras.Model:
    """The model with weights as after training: BN statistics, gates whose bits differ between these images."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(size=layer.moving_mean.shape) * 0.2)
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, layer.moving_variance.shape))
            if layer.scale:
                layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
                layer.beta.assign(rng.normal(size=layer.beta.shape) * 0.2)
    for gate in gates(model):
        head = model.get_layer(f"{gate}_fc2")
        probe = keras.Model(model.input, head.output)
        head.bias.assign(head.bias - np.median(np.asarray(probe(images)), axis=0))
    # A model that was part of another can be saved again only as a copy.
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    return clone


def gates(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers if isinstance(layer, ChannelGate)]


def force(model: keras.Model, is_open: bool) -> None:
    for gate in gates(model):
        kernel, bias = model.get_layer(f"{gate}_fc2").get_weights()
        model.get_layer(f"{gate}_fc2").set_weights([kernel * 0, bias * 0 + (1 if is_open else -1)])


def trainable(model: keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def connections(layer: keras.layers.Layer) -> int:
    """Weights that are multiplied: within a dynamic grouping convolution, those inside its groups."""
    if isinstance(layer, DGConv2D):
        return int(np.count_nonzero(layer.effective_kernel()))
    return int(np.prod(layer.kernel.shape))


def hand_count(model: keras.Model) -> dict[str, int]:
    """MACs of each layer: connections times output pixels; BN that no convolution can take in, one a value."""
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, DGConv2D, keras.layers.Dense)
    folded = {id(layer.output) for layer in model.layers if isinstance(layer, kinds)}
    counts = {}
    for layer in model.layers:
        if isinstance(layer, kinds):
            counts[layer.name] = connections(layer) * int(np.prod(layer.output.shape[1:-1]))
        elif isinstance(layer, keras.layers.BatchNormalization) and id(layer.input) not in folded:
            counts[layer.name] = int(np.prod(layer.output.shape[1:]))
    return counts


def test_every_member_says_what_it_is() -> None:
    assert set(ZOO) == set(SMALL) and ZOO.keys() - GATED == {"g_resnext"}
    for name, member in ZOO.items():
        assert member.name == name == member.build.__name__
        assert member.summary and "\n" not in member.summary


@pytest.mark.parametrize("name", ZOO)
def test_default_network_is_small(name: str) -> None:
    model = ZOO[name].build(gated=False)
    assert model.input.shape == (None, 28, 28, 1) and model.output.shape == (None, 10)
    assert model.input.dtype == model.output.dtype == "float32"
    # Learned groups start anywhere and end at `group_size`.
    for layer in model.layers:
        if isinstance(layer, DGConv2D):
            layer.freeze_groups()
    assert 2_000_000 < sum(hand_count(model).values()) < 5_000_000
    assert trainable(model) < 330_000


@pytest.mark.parametrize("name", GATED)
def test_gated_twin(name: str, tmp_path: Path) -> None:
    dense = awake(small(name, gated=False))
    gated = gated_twin(dense, name, **{"input_shape": SHAPE, "classes": 3, **SMALL[name]})
    assert {layer.name for layer in dense.layers} < {layer.name for layer in gated.layers}
    extra = [layer for layer in gated.layers if layer.name not in {layer.name for layer in dense.layers}]
    assert all("_gate" in layer.name or isinstance(layer, ApplyMask) for layer in extra)
    assert not gates(dense) and len(gates(gated)) >= 2

    logits = np.asarray(dense(IMAGES))
    force(gated, True)
    np.testing.assert_array_equal(np.asarray(gated(IMAGES)), logits)
    force(gated, False)
    assert np.abs(np.asarray(gated(IMAGES)) - logits).max() > 1e-3

    dense.save(tmp_path / "dense.keras")
    reread = keras.saving.load_model(tmp_path / "dense.keras", compile=False, safe_mode=True)
    np.testing.assert_array_equal(np.asarray(reread(IMAGES)), logits)


PAPER = {"group": 1, "conv": "plain", "gate": "conv", "stem_pool": True, "last_transition": True, "symmetric": True}


@pytest.mark.parametrize(("name", "arguments"), [*((name, {}) for name in ZOO), ("acs_densenet", PAPER)])
def test_file_and_compiler_read_the_same_network(name: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    model = awake(small(name, gated=ZOO[name].gated, **arguments))
    path = tmp_path / "model.keras"
    model.save(path)
    reread = keras.saving.load_model(path, compile=False, safe_mode=True)
    probe = keras.Model(
        reread.input, {"logits": reread.output, **{g: reread.get_layer(g).output for g in gates(reread)}}
    )
    wanted = {key: np.asarray(value) for key, value in probe(IMAGES).items()}
    np.testing.assert_array_equal(wanted.pop("logits"), np.asarray(model(IMAGES)))

    graph = load_keras(path)
    values = evaluate(graph, IMAGES)
    np.testing.assert_allclose(values[graph.output], np.asarray(model(IMAGES)), rtol=1e-4, atol=1e-4)
    assert [gate.name for gate in graph.gates] == list(wanted)
    for gate in graph.gates:
        mask = wanted[gate.name]
        assert 0 < mask.mean() < 1 and len(np.unique(mask, axis=0)) > 1
        np.testing.assert_array_equal(values[gate.output], mask)


@pytest.mark.parametrize("name", ZOO)
def test_macs_are_those_of_the_plan(name: str) -> None:
    model = small(name, gated=ZOO[name].gated)
    table = mac_table(model)
    assert table.dense == sum(hand_count(model).values())
    assert table.gates == {gate: model.get_layer(gate).output.shape[1] for gate in gates(model)}


@pytest.mark.parametrize(
    ("name", "blocks", "masked"),
    [
        ("acs_resnet", ("b1", "b2"), ("conv1", "conv2")),
        ("acs_mobilenet", ("b1", "b2", "b3"), ("expand", "depthwise", "project")),
        ("acs_bottleneck_resnet", ("a", "b"), ("conv1", "dg", "conv3")),
    ],
)
def test_masks_save_the_inside_of_a_block(name: str, blocks: tuple[str, ...], masked: tuple[str, ...]) -> None:
    model = small(name)
    macs = hand_count(model)
    inside = sum(macs[f"{block}_{part}"] for block in blocks for part in masked)
    assert mac_table(model).fixed == sum(macs.values()) - inside


def test_resnet8_is_that_of_mlperf_tiny() -> None:
    """https://github.com/mlcommons/tiny: 3x3 stem of 16, stacks of 16, 32, 64, 12,501,632 MACs."""
    model = acs_resnet(gated=False, **RESNET8)
    macs = hand_count(model)
    assert sum(macs.values()) == 12_501_632
    assert [layer.name for layer in model.layers if "short_conv" in layer.name] == ["b2_short_conv", "b3_short_conv"]
    kernels = 3 * 9 * 16 + 2 * 9 * 16**2 + 9 * (16 * 32 + 32**2) + 9 * (32 * 64 + 64**2) + 16 * 32 + 32 * 64
    norms = 2 * (16 * 3 + 32 * 3 + 64 * 3)
    assert trainable(model) == kernels + norms + 64 * 10 + 10


def test_resnet8_needs_two_tensors_and_a_band_of_memory() -> None:
    """Two of 32x32x16; the residual is added by the convolution before it."""
    planned = plan(prepare(read_model(acs_resnet(gated=False, **RESNET8))))
    assert 2 * 32 * 32 * 16 < planned.arena_bytes < 2 * 32 * 32 * 16 + 2048
    assert planned.arena_proof == "optimal"


def test_densenet40_has_the_papers_parameters() -> None:
    dense, gated = densenet40(gated=False), densenet40()
    assert trainable(dense) == 1_214_462 - 486_516
    # One gate reads 64 + 32, 64 + 64, ... channels; behind a transition half of what came before.
    reads = [start + 32 * layer for start in (64, 128, 160) for layer in range(1, 7)]
    per_gate = 32 * 9 * 32 * 2 + 2 * 5 + 2 * 32 + 32 * 32 + 32  # two 3x3 and their scalars, BN, 1x1
    sizes = [32 * channels + per_gate for channels in reads]
    assert trainable(gated) - trainable(dense) == sum(sizes[:-1])
    squeeze_and_excite = 2 * 32 * 2
    assert sum(sizes) + len(sizes) * squeeze_and_excite == 486_516
    kept = {gate: gated.get_layer(f"{gate}_conv1").input.shape[-1] for gate in gates(gated)}
    assert list(kept.values()) == reads[:-1]
    assert densenet40((64, 48, 3), classes=4, gated=False).output.shape == (None, 4)
    assert trainable(densenet40((64, 48, 3), gated=False)) == trainable(dense)


def test_densenet_gates_read_the_layer_before() -> None:
    model = small("acs_densenet", blocks=(2, 1), gate="squeeze")
    assert gates(model) == ["b1_l2_gate", "b2_l1_gate"]
    assert model.get_layer("b1_l2_gate_pool").input is model.get_layer("b1_l1_concat").output
    # Across the transition: at the size before it.
    assert model.get_layer("b2_l1_gate_pool").input is model.get_layer("b1_l2_concat").output
    force(model, False)
    probe = keras.Model(model.input, [model.get_layer(f"{n}_concat").output for n in ("b1_l1", "b1_l2", "b2_l1")])
    first, second, third = (np.asarray(value) for value in probe(IMAGES))
    assert np.abs(first[..., 8:]).max() > 0
    np.testing.assert_array_equal(second[..., :16], first)
    assert not second[..., 16:].any() and not third[..., 12:].any() and third[..., :12].any()
    names = {layer.name for layer in small("acs_densenet", last_transition=True).layers}
    assert {"t1_conv", "t2_conv"} < names and "t2_conv" not in {layer.name for layer in model.layers}


def test_symmetric_padding_is_that_of_pytorch() -> None:
    model = acs_densenet((8, 10, 2), stem=8, stem_size=7, stem_pool=True, blocks=(1,), symmetric=True, epsilon=1e-5)
    probe = keras.Model(model.input, [model.get_layer("stem_relu").output, model.get_layer("stem_pool").output])
    stem, pooled = (np.asarray(value) for value in probe(IMAGES))
    kernel = model.get_layer("stem_conv").kernel
    wanted = tf.nn.conv2d(IMAGES, kernel, 2, [[0, 0], [3, 3], [3, 3], [0, 0]])
    wanted = tf.nn.relu(wanted / np.sqrt(1 + 1e-5, dtype=np.float32))
    np.testing.assert_allclose(stem, wanted, rtol=1e-5, atol=1e-5)
    edged = np.pad(stem, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(edged, (3, 3), axis=(1, 2))[:, ::2, ::2]
    np.testing.assert_array_equal(pooled, windows.max(axis=(-2, -1)))


@pytest.mark.parametrize("design", GATES)
def test_gate_learns(design: str, tmp_path: Path) -> None:
    model = small("acs_resnet", gate=design, gate_hidden=4)
    model.save(tmp_path / "model.keras")
    reread = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    np.testing.assert_array_equal(np.asarray(reread(IMAGES)), np.asarray(model(IMAGES)))

    weights = [weight for weight in model.trainable_weights if "_gate_" in weight.path]
    learned = {weight.path for weight in weights}
    if design == "random":
        assert not learned
    elif design == "constant":
        assert learned == {"b1_gate_fc2/bias", "b2_gate_fc2/bias"}
    else:
        assert {"b1_gate_fc2/kernel", "b2_gate_fc2/kernel"} < learned
    goal = np.random.default_rng(2).normal(size=(8, 3)).astype(np.float32)
    before = {weight.path: np.asarray(weight) for weight in model.weights if "_gate_" in weight.path}
    optimizer = keras.optimizers.Adam(0.05)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model(IMAGES, training=True) - goal) ** 2)
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None and np.isfinite(gradient).all(), weight.path
        if weight.path in learned:
            assert np.abs(gradient).max() > 0, weight.path
    optimizer.apply(gradients, model.trainable_variables)
    moving = ("moving_mean", "moving_variance")
    for weight in model.weights:
        if weight.path in before and not weight.path.endswith(moving):
            changed = bool(np.any(np.asarray(weight) != before[weight.path]))
            assert changed == (weight.path in learned), weight.path


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_random_gate_opens_its_share(share: float) -> None:
    inputs = keras.Input((6, 6, 24))
    make = builder(3, keras.layers.BatchNormalization)
    model = keras.Model(inputs, add_gate(make, inputs, "a", 32, Gate("random", 32, share)))
    # Features as behind a ReLU: positive, with a mean of their own in each channel.
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(256, 6, 6, 24)) + rng.normal(size=(256, 1, 1, 24)) + 1.0, 0).astype(np.float32)
    for _ in range(60):
        model(x, training=True)
    mask = np.asarray(model(x))
    assert mask.mean() == pytest.approx(share, abs=0.08)
    assert ((mask.mean(axis=0) > 0.05) & (mask.mean(axis=0) < 0.999)).mean() > 0.9


def test_constant_gate_does_not_look(tmp_path: Path) -> None:
    model = small("acs_resnet", gate="constant")
    head = model.get_layer("b2_gate_fc2")
    head.bias.assign([1.0, -1.0, 1.0, 1.0])
    mask = np.asarray(keras.Model(model.input, model.get_layer("b2_gate").output)(IMAGES))
    np.testing.assert_array_equal(mask, [[1, 0, 1, 1]] * 8)
    model = small("acs_resnet", gate="constant")
    model.save(tmp_path / "model.keras")
    head = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True).get_layer("b2_gate_fc2")
    optimizer = keras.optimizers.Adam(0.1)
    optimizer.apply([np.ones(weight.shape, np.float32) for weight in head.trainable_weights], head.trainable_weights)
    assert not np.asarray(head.kernel).any() and np.asarray(head.bias).any()


@pytest.mark.parametrize("build", [g_resnext, acs_bottleneck_resnet])
def test_convolutions_to_compare(build: Any) -> None:
    arguments = {"input_shape": SHAPE, "stem": 8, "blocks": [Block("a", 16, 8, 4, 2)]}
    macs = {}
    for conv in CONVOLUTIONS:
        model = build(conv=conv, gated=False, **arguments)
        assert np.isfinite(np.asarray(model(IMAGES))).all()
        for layer in model.layers:
            if isinstance(layer, DGConv2D):
                assert layer.learn_groups == (conv == "dg")
                layer.freeze_groups()
        macs[conv] = sum(count for name, count in hand_count(model).items() if name.startswith(("a_dg", "a_conv2")))
    pixels = 2 * 3
    assert macs == {
        "dg": pixels * 9 * 16 * 4,
        "grouped": pixels * 9 * 16 * 4,
        "separable": pixels * (9 * 16 + 16 * 16),
        "plain": pixels * 9 * 16 * 16,
    }
    fixed = build(conv="grouped", gated=False, **arguments).get_layer("a_conv2")
    assert fixed.channel_groups().tolist() == [channel // 4 for channel in range(16)]


@pytest.mark.parametrize("conv", CONVOLUTIONS)
@pytest.mark.parametrize("name", ["acs_bottleneck_resnet", "acs_densenet"])
def test_gated_twin_of_every_convolution(name: str, conv: str) -> None:
    arguments = {"input_shape": SHAPE, **SMALL[name], "conv": conv}
    dense = ZOO[name].build(gated=False, seed=4, **arguments)
    learned = [layer for layer in dense.layers if isinstance(layer, DGConv2D) and layer.learn_groups]
    assert bool(learned) == (conv == "dg")
    for layer in learned:
        layer.freeze_groups()
    gated = gated_twin(dense, name, seed=5, **arguments)
    force(gated, True)
    np.testing.assert_array_equal(np.asarray(gated(IMAGES)), np.asarray(dense(IMAGES)))
    for layer in learned:
        assert not gated.get_layer(layer.name).learn_groups
        mask = layer.name.removesuffix("_dg") + "_mask"
        if mask in {other.name for other in gated.layers}:
            assert gated.get_layer(mask).channel_group == layer.channel_groups().tolist()


def test_width_keeps_groups_whole() -> None:
    assert scaled(16, 1.0, 5) == 16  # as it was given
    assert [scaled(16, width, 4) for width in (0.05, 0.3, 0.7, 1.1, 2)] == [4, 4, 12, 16, 32]
    with pytest.raises(ValueError, match="above 0"):
        scaled(16, 0.0)
    for name, member in ZOO.items():
        macs = [
            sum(hand_count(member.build(gated=member.gated, width=width, input_shape=SHAPE)).values())
            for width in (0.3, 0.7)
        ]
        assert macs[0] < macs[1], name
    middle = acs_resnet(width=0.7).get_layer("b2_mask").channel_group
    assert middle == [channel // 4 for channel in range(24)]


def test_seed_decides_the_weights() -> None:
    for name in ZOO:
        first, again, other = (small(name, gated=False, seed=seed).get_weights() for seed in (1, 1, 2))
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_groups_of_a_mask_can_be_given() -> None:
    groups = [0, 1, 0, 1] * 4
    model = small("acs_resnet", channel_groups={"b2": groups})
    assert model.get_layer("b2_mask").channel_group == groups and model.get_layer("b2_gate").output.shape[1] == 2
    assert model.get_layer("b1_mask").channel_group == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: g_resnext(gated=True), "no gated form: take acs_bottleneck_resnet"),
        (lambda: acs_resnet(gate="grids"), "'grids': choose from grid, squeeze"),
        (lambda: acs_resnet(gate_open=1.0), "between 0 and 1"),
        (lambda: acs_resnet(widths=(16, 18, 20)), "b2: 18 channels are not whole groups of 4"),
        (lambda: acs_resnet(strides=(1, 2)), "3 widths but 2 strides"),
        (lambda: acs_mobilenet(strides=(1, 2)), "5 widths but 2 strides"),
        (lambda: acs_bottleneck_resnet(conv="dense"), "'dense': choose from dg, grouped"),
        (lambda: acs_bottleneck_resnet(blocks=[Block("a", 8, 8, 2)] * 2), "block names must differ"),
        (lambda: gated_twin(keras.Model(), "resnet"), "'resnet': choose from acs_resnet"),
    ],
)
def test_wrong_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()

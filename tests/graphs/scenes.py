# SPDX-License-Identifier: Apache-2.0
"""The pieces of random networks: scenes in the middle, heads at the end."""

from __future__ import annotations

from collections.abc import Callable

from tests.graphs.author import Author, divisors
from tests.graphs.builder import in_order, mixed, relabelled

# --- scenes: what may come in the middle of a network ---


def plain(a: Author, x: str) -> str:
    return a.finish(a.any_conv(x, a.one_of(8, 16, 24)))


def depthwise_and_pool(a: Author, x: str) -> str:
    return a.relu(a.any_pool(a.finish(a.any_depthwise(x))), a.one_of("relu", "relu6"))


def learned_groups(a: Author, x: str) -> str:
    partition = mixed(a.rng, a.channels(x), a.one_of(*divisors(a.channels(x))))
    return a.finish(a.dgconv(x, partition))


def explicit_shuffle(a: Author, x: str) -> str:
    return a.shuffle(a.any_pool(x), a.rng.permutation(a.channels(x)).tolist())


def residual(a: Author, x: str) -> str:
    """A branch around the input, and a BatchNorm behind the sum, which cannot be folded."""
    branch = a.conv(a.finish(a.any_conv(x, a.one_of(4, 8), shrink=False)), a.channels(x), (1, 1))
    one, other = a.one_of((x, branch), (branch, x))
    total = a.add(one, other, a.one_of("none", "relu", "relu6"))
    return a.relu(a.batch_norm(total)) if a.chance() else total


def far_sum(a: Author, x: str) -> str:
    """Adds something of the same shape from far back, which lives until here."""
    inner = a.conv(x, 8, groups=a.one_of(*(d for d in divisors(8) if a.channels(x) % d == 0)))
    same = [name for name in a.values if a.shape(name) == a.shape(inner)]
    return a.add(inner, a.one_of(*same))


def widening_groups(a: Author, x: str) -> str:
    """Grouped convolutions with another number of channels at either end."""
    groups = a.one_of(*(d for d in divisors(8) if a.channels(x) % d == 0))
    inner = a.conv(x, 16, groups=groups)
    mask, partition = a.new_mask(inner, x)
    if a.chance():
        partition = in_order(16, max(partition) + 1)
    return a.conv(a.mask(inner, mask, partition), 8, (1, 1), groups=a.one_of(1, 2, 4, 8))


def gated_by_input(a: Author, x: str) -> str:
    inner = a.finish(a.any_conv(x, a.one_of(8, 12, 16)))
    mask, partition = a.new_mask(inner, x)
    return a.mask(inner, mask, partition)


def gated_by_itself(a: Author, x: str) -> str:
    """The gate looks at what it masks, so that nothing may be skipped."""
    inner = a.finish(a.any_conv(x, a.one_of(8, 12, 16)))
    mask, partition = a.new_mask(inner, inner)
    return a.mask(inner, mask, partition)


def gated_bottleneck(a: Author, x: str) -> str:
    """1x1, learned groups, mask, 1x1, around it a sum: the form that pays best."""
    width = a.one_of(8, 16)
    groups = a.groups(width)
    mask, partition = a.gate(x, groups), mixed(a.rng, width, groups)
    inner = a.relu(a.batch_norm(a.conv(x, width, (1, 1))))
    inner = a.relu(a.batch_norm(a.dgconv(inner, a.related(partition))))
    inner = a.conv(a.mask(inner, mask, partition), a.channels(x), (1, 1))
    return a.add(x, inner, "relu")


def one_gate_in_a_row(a: Author, x: str) -> str:
    """The same mask before and behind what works on groups by themselves."""
    width = a.one_of(8, 16)
    inner = a.any_conv(x, width)
    mask, partition = a.new_mask(inner, x)
    inner = a.mask(inner, mask, partition)
    for _ in range(a.one_of(1, 2)):
        inner = a.group_worker(inner, partition)
    return a.mask(inner, mask, partition)


def two_gates_in_a_row(a: Author, x: str) -> str:
    """A masked tensor goes into a convolution whose output another gate masks."""
    first = a.any_conv(x, a.one_of(8, 16))
    mask, partition = a.new_mask(first, x)
    first = a.mask(first, mask, partition)
    second = a.group_worker(first, partition) if a.chance() else a.any_conv(first, a.one_of(8, 16))
    mask, partition = a.new_mask(second, a.one_of(x, first))
    return a.mask(second, mask, partition)


def masked_twice(a: Author, x: str) -> str:
    """Two masks directly one after the other: of one gate, or of two."""
    inner = a.any_conv(x, a.one_of(8, 16))
    mask, partition = a.new_mask(inner, x)
    once = a.mask(inner, mask, partition)
    if a.chance(0.3):
        return a.mask(once, mask, relabelled(a.rng, partition) if a.chance() else partition)
    return a.mask(once, *a.new_mask(once, a.one_of(x, inner)))


def masked_by_two(a: Author, x: str) -> str:
    """One tensor under two masks, and the sum of both."""
    inner = a.any_conv(x, a.one_of(8, 16))
    return a.add(a.mask(inner, *a.new_mask(inner, x)), a.mask(inner, *a.new_mask(inner, x)))


def masked_and_bare(a: Author, x: str) -> str:
    """One reader sees a tensor masked, another as it is."""
    inner = a.any_conv(x, a.one_of(8, 16))
    masked = a.mask(inner, *a.new_mask(inner, x))
    bare = a.group_worker(inner, in_order(a.channels(inner), 4)) if a.chance() else a.relu(inner)
    return bare if a.shape(bare) != a.shape(masked) else a.add(masked, bare)


def pooled_and_masked(a: Author, x: str) -> str:
    """A mask behind a pool or a clamp: what feeds it is skipped through it."""
    inner = a.any_conv(x, a.one_of(8, 16))
    mask, partition = a.new_mask(inner, x)
    inner = a.any_pool(inner) if a.chance(0.7) else a.relu(a.any_depthwise(inner))
    return a.mask(inner, mask, partition)


def masked_and_pooled(a: Author, x: str) -> str:
    """Closed groups stay zero through pools and clamps up to a convolution."""
    inner = a.any_conv(x, a.one_of(8, 16))
    inner = a.any_pool(a.mask(inner, *a.new_mask(inner, x)))
    if a.chance():
        inner = a.relu(inner)
    return a.any_conv(inner, a.one_of(8, 16))


def masked_into_groups(a: Author, x: str) -> str:
    """A grouped or depthwise convolution without a mask of its own: closed groups must really be zero."""
    inner = a.any_conv(x, a.one_of(8, 16))
    mask, partition = a.new_mask(inner, x)
    return a.group_worker(a.mask(inner, mask, partition), partition)


def masked_into_several(a: Author, x: str) -> str:
    """A masked tensor with several readers of different kinds, one of them perhaps under the same mask."""
    inner = a.any_conv(x, a.one_of(8, 16))
    mask, partition = a.new_mask(inner, x)
    inner = a.mask(inner, mask, partition)
    readers = [a.group_worker(inner, partition), a.conv(inner, a.channels(inner), (1, 1))]
    if a.chance():
        readers[0] = a.mask(readers[0], mask, partition)
    same = [r for r in readers if a.shape(r) == a.shape(inner)]
    return a.add(same[0], a.one_of(inner, same[-1]))


def one_mask_on_two_branches(a: Author, x: str) -> str:
    """Two readers of one tensor that both stand under one gate, in groups of different size."""
    width = a.one_of(8, 16)
    inner = a.any_conv(x, width)
    mask, partition = a.new_mask(inner, x)
    if a.chance():
        inner = a.mask(inner, mask, partition)
    branches = [a.mask(a.group_worker(inner, partition), mask, partition) for _ in range(2)]
    one, other = branches
    return one if a.shape(one) != a.shape(other) else a.add(one, other)


def gate_on_masked_logits(a: Author, x: str) -> str:
    """A gate whose logits another gate masks: its order of channels is fixed."""
    groups = a.one_of(2, 4)
    logits = a.dense(a.features(x), groups)
    bits = a.groups(groups)
    logits = a.mask(logits, a.gate(x, bits), mixed(a.rng, groups, bits))
    inner = a.any_conv(x, 8)
    return a.mask(inner, a.gate_on(logits), mixed(a.rng, 8, groups))


def joined(a: Author, x: str) -> str:
    """Two or three tensors side by side, some of them masked, perhaps the same one twice."""
    parts = [x, a.finish(a.any_conv(x, a.one_of(4, 8), shrink=False))]
    parts[1] = a.mask(parts[1], *a.new_mask(parts[1], x)) if a.chance(0.7) else parts[1]
    if a.chance():
        parts.append(a.one_of(*parts, a.any_conv(x, 4, shrink=False)))
    parts = [part for part in parts if a.shape(part)[:2] == a.shape(x)[:2]]
    return a.concat(*(parts[i] for i in a.rng.permutation(len(parts))))


def dense_block(a: Author, x: str) -> str:
    """Every layer reads all before it, and its gate does too."""
    for _ in range(2):
        new = a.conv(a.relu(a.batch_norm(x)), a.one_of(4, 8), a.flat(x, (3, 3)))
        x = a.concat(x, a.mask(new, *a.new_mask(new, x)))
    return a.relu(a.batch_norm(x))


def pre_activation(a: Author, x: str) -> str:
    """Layers of a dense block as in the paper: normalised before each convolution, 1x1 before 3x3."""
    for _ in range(2):
        inner = a.conv(a.relu(a.batch_norm(x)), 8, (1, 1), activation=a.one_of("none", "relu"))
        new = a.conv(a.relu(a.batch_norm(inner)), 8, a.flat(x, (3, 3)), groups=a.one_of(1, 4))
        x = a.concat(x, a.mask(new, *a.new_mask(new, x)))
    inner = a.relu(a.batch_norm(x))
    stride = a.flat(x, (2, 2)) if a.side(x) >= 4 and a.chance() else (1, 1)
    return a.conv(a.any_pool(inner) if a.chance(0.3) else inner, 8, (1, 1), stride)


def masked_parts(a: Author, x: str) -> str:
    """A mask over what was joined, whose groups are groups of the parts."""
    whole = a.concat(*(a.finish(a.any_conv(x, 8, shrink=False)) for _ in range(2)))
    groups = a.one_of(2, 4, 8)
    return a.mask(whole, a.gate(x, groups), in_order(16, groups))


def layers_for_one_gate(a: Author, x: str) -> str:
    """Several layers, one of them perhaps masked by another gate, that feed nothing but what one gate masks."""
    inner = a.finish(a.any_conv(x, 8, shrink=False))
    if a.chance():
        inner = a.mask(inner, *a.new_mask(inner, x))
    inner = a.any_conv(a.any_pool(inner), 8)
    groups = a.one_of(1, 1, 2, 4)
    return a.mask(inner, a.gate(x, groups), in_order(8, groups))


def masked_join(a: Author, x: str) -> str:
    """A mask over what was joined, whose groups lie across the parts; the gate looks at one of them or at both."""
    one, other = a.any_conv(x, a.one_of(4, 8), shrink=False), a.finish(a.any_conv(x, 8, shrink=False))
    whole = a.concat(one, other)
    mask, partition = a.new_mask(whole, a.one_of(x, one, whole))
    whole = a.mask(whole, mask, partition)
    return a.group_worker(whole, partition) if a.chance(0.7) else whole


def masked_sum(a: Author, x: str) -> str:
    """A mask over a sum, and something that works on its groups."""
    total = a.add(x, a.conv(x, a.channels(x), (1, 1)), a.one_of("none", "relu"))
    mask, partition = a.new_mask(total, a.one_of(x, total))
    total = a.mask(total, mask, partition)
    return a.group_worker(total, partition) if a.chance() else total


def padded(a: Author, x: str) -> str:
    """Zeros around a masked or an ordinary image, before what takes them in, and what does not."""
    inner = a.mask(x, *a.new_mask(x, x)) if a.chance() else x
    wide = a.any_pad(inner)
    if a.chance(0.3):
        return a.any_conv(wide, 8, shrink=False)
    pooled = a.any_pool(wide)
    return a.mask(pooled, *a.new_mask(pooled, x)) if a.chance() else pooled


def padded_for_two(a: Author, x: str) -> str:
    """Two readers of one padded image, of which one may be no convolution."""
    wide = a.any_pad(a.any_pad(x) if a.chance(0.3) else x)
    one = a.conv(wide, a.channels(x), (1, 1))
    other = a.conv(wide, a.channels(x), (1, 3)) if a.chance() else a.relu(wide)
    return a.add(one, other)


SCENES: tuple[Callable[[Author, str], str], ...] = (
    plain,
    depthwise_and_pool,
    learned_groups,
    explicit_shuffle,
    residual,
    far_sum,
    widening_groups,
    gated_by_input,
    gated_by_itself,
    gated_bottleneck,
    one_gate_in_a_row,
    two_gates_in_a_row,
    masked_twice,
    masked_by_two,
    masked_and_bare,
    pooled_and_masked,
    masked_and_pooled,
    masked_into_groups,
    masked_into_several,
    one_mask_on_two_branches,
    gate_on_masked_logits,
    joined,
    dense_block,
    pre_activation,
    masked_parts,
    layers_for_one_gate,
    masked_join,
    masked_sum,
    padded,
    padded_for_two,
)


# --- heads: how a network ends ---------------------------------------------------------------------


def classifier(a: Author, x: str) -> str:
    return a.dense(a.features(x), a.one_of(3, 10))


def flat_classifier(a: Author, x: str) -> str:
    """Every pixel counts; sometimes without a Flatten."""
    return a.dense(a.flatten(x) if a.chance(0.7) else x, 5)


def masked_flat_classifier(a: Author, x: str) -> str:
    x = a.conv(x, 8, (1, 1))
    return a.dense(a.flatten(a.mask(x, *a.new_mask(x, x))), 5)


def vector_classifier(a: Author, x: str) -> str:
    """Masks, sums and clamps on tensors without pixels."""
    hidden = a.dense(a.features(x), 12)
    hidden = a.relu(a.mask(hidden, *a.new_mask(hidden, x)))
    if a.chance():
        hidden = a.add(hidden, a.batch_norm(hidden))
    return a.dense(hidden, 4)


def masked_features(a: Author, x: str) -> str:
    """A mask on flattened features, one per channel."""
    features = a.features(x)
    return a.dense(a.mask(features, *a.new_mask(features, x)), 6)


def joined_features(a: Author, x: str) -> str:
    """Vectors side by side: pooled, masked, flattened."""
    hidden = a.dense(a.features(x), 8)
    parts = [a.features(x), a.mask(hidden, *a.new_mask(hidden, x)), a.flatten(a.conv(x, 2, (1, 1)))]
    whole = a.concat(*parts[: a.one_of(2, 3)])
    if a.chance():
        whole = a.mask(whole, *a.new_mask(whole, x))
    return a.dense(whole, 5)


def joined_output(a: Author, x: str) -> str:
    """Ends in a concatenation."""
    part = a.conv(x, 4, (1, 1))
    return a.concat(a.mask(part, *a.new_mask(part, x)), a.one_of(x, part))


def masked_output(a: Author, x: str) -> str:
    """The result itself is masked, an image or a vector."""
    result = a.conv(x, 8, (1, 1)) if a.chance() else a.dense(a.features(x), 8)
    mask, partition = a.new_mask(result, x)
    result = a.mask(result, mask, partition)
    return a.flatten(result) if a.chance(0.3) else result


def image_output(a: Author, x: str) -> str:
    """Ends in an image, which leaves as NHWC whatever wrote it."""
    groups = a.one_of(*divisors(a.channels(x)))
    return a.conv(x, a.channels(x), groups=groups) if a.chance() else a.any_pool(x)


HEADS: tuple[Callable[[Author, str], str], ...] = (
    classifier,
    flat_classifier,
    masked_flat_classifier,
    vector_classifier,
    masked_features,
    joined_features,
    joined_output,
    masked_output,
    image_output,
)

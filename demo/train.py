# SPDX-License-Identifier: Apache-2.0
"""Trains the demo network on Fashion-MNIST: first its dense twin, which learns the convolution
groups, then the gated network, which starts from the twin's weights and learns what to skip.

Writes fashion_acs.keras (weights and graph, no optimiser state), train.log and report.json.
Of the 60,000 training images 5,000 are held back for validation; the test images are used once,
for the final report.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf
from make_data import FASHION_MNIST, load_split

from acsgen.nn.layers import DGConv2D
from acsgen.nn.macs import mac_table
from acsgen.nn.training import (
    Evaluation,
    FusedBatchNormalization,
    Schedule,
    evaluate,
    train_dense,
    train_gated,
)
from acsgen.nn.zoo import FASHION_BLOCKS, acs_bottleneck_resnet, copy_weights, gated_twin

VALIDATION = 5000


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        epilog="example: python demo/train.py --seed 0 --out demo",
    )
    parser.add_argument("--data", type=Path, default=FASHION_MNIST, help="folder of the idx files")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="output folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--group-epochs", type=int, default=2, help="while groups are learned")
    parser.add_argument("--dense-epochs", type=int, default=14, help="with the groups fixed")
    parser.add_argument("--gated-epochs", type=int, default=22)
    parser.add_argument("--target", type=float, default=0.53, help="share of the dense MACs")
    parser.add_argument(
        "--precision",
        choices=("mixed_bfloat16", "float32"),
        default="mixed_bfloat16",
        help="of the training steps; evaluation and file are always float32",
    )
    parser.add_argument("--save-dense", type=Path, help="write the trained dense twin here")
    parser.add_argument("--dense", type=Path, help="start from this dense twin, do not train one")
    parser.add_argument("--threads", type=int, default=1, help="TensorFlow threads")
    return parser.parse_args()


class Tee:
    """Prints lines and writes them to a file."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("w")

    def __call__(self, line: str = "") -> None:
        print(line, flush=True)
        self.file.write(line + "\n")
        self.file.flush()


def main() -> None:
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(options.seed)
    log = Tee(options.out / "train.log")
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }
    settings = {
        name: getattr(options, name)
        for name in (
            "seed",
            "group_epochs",
            "dense_epochs",
            "gated_epochs",
            "target",
            "precision",
        )
    }
    log(f"versions {versions}")
    log(f"settings {settings}")

    images, labels = load_split(options.data, "train")
    order = np.random.default_rng(options.seed).permutation(len(images))
    train, held = order[VALIDATION:], order[:VALIDATION]
    scaled = images.astype(np.float32) * np.float32(1 / 255)
    x, y, val_x, val_y = scaled[train], labels[train], scaled[held], labels[held]

    arguments: dict[str, Any] = {"blocks": FASHION_BLOCKS, "seed": options.seed}

    def fast(build: Any, *args: Any) -> keras.Model:
        """A model for training steps: low precision, fused BN."""
        keras.config.set_dtype_policy(options.precision)
        try:
            return build(*args, batch_norm=FusedBatchNormalization, **arguments)
        finally:
            keras.config.set_dtype_policy("float32")

    twin = fast(lambda **k: acs_bottleneck_resnet(gated=False, **k))
    dense = acs_bottleneck_resnet(gated=False, **arguments)
    base = Schedule(target=options.target)

    def check_dense(epoch: int) -> str:
        if epoch % 4 != 3:
            return ""
        copy_weights(twin, dense)
        return evaluate(dense, val_x, val_y).text()

    if options.dense is not None:
        log(f"\ndense twin read from {options.dense.name}")
        dense = keras.saving.load_model(options.dense, compile=False, safe_mode=True)
        copy_weights(dense, twin)
    else:
        convolutions = [layer for layer in twin.layers if isinstance(layer, DGConv2D)]
        log("\ndense twin, learning the groups")
        train_dense(
            twin,
            x,
            y,
            replace(base, epochs=options.group_epochs),
            options.seed,
            log,
            lambda _: " ".join(str(layer.groups) for layer in convolutions) + " groups",
        )
        for layer in convolutions:
            layer.freeze_groups()
            log(f"{layer.name}: {layer.groups} groups, bits {layer.group_bits().tolist()}")
        log("\ndense twin, groups fixed")
        fixed = replace(base, epochs=options.dense_epochs)
        train_dense(twin, x, y, fixed, options.seed + 1, log, check_dense)
        copy_weights(twin, dense)
        for layer in dense.layers:
            if isinstance(layer, DGConv2D):
                layer.freeze_groups()
        if options.save_dense is not None:
            dense.save(options.save_dense)
    dense_val = evaluate(dense, val_x, val_y)
    log(f"validation: {dense_val.text()}")

    log("\ngated network")
    student = fast(gated_twin, dense)
    gated = gated_twin(dense, **arguments)

    def check_gated(epoch: int) -> str:
        if epoch % 4 != 3:
            return ""
        copy_weights(student, gated)
        return evaluate(gated, val_x, val_y, controls=False).text()

    train_gated(
        student,
        x,
        y,
        replace(base, epochs=options.gated_epochs),
        twin,
        options.seed + 2,
        log,
        check_gated,
    )
    copy_weights(student, gated)
    gated_val = evaluate(gated, val_x, val_y)
    log(f"validation: {gated_val.text()}")

    path = options.out / "fashion_acs.keras"
    gated.save(path)
    test_images, test_labels = load_split(options.data, "t10k")
    test_x = test_images.astype(np.float32) * np.float32(1 / 255)
    reread = keras.saving.load_model(path, compile=False, safe_mode=True)
    dense_test = evaluate(dense, test_x, test_labels)
    gated_test = evaluate(reread, test_x, test_labels)
    table = mac_table(reread)
    report = {
        "versions": versions,
        "settings": settings,
        "parameters": gated.count_params(),
        "file_bytes": path.stat().st_size,
        "groups": {
            layer.name: layer.channel_groups().tolist() for layer in reread.layers if isinstance(layer, DGConv2D)
        },
        "macs_fixed": table.fixed,
        "macs_layers": table.layers(),
        "validation": {"dense": asdict(dense_val), "gated": asdict(gated_val)},
        "test": {"dense": asdict(dense_test), "gated": asdict(gated_test)},
    }
    (options.out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    _print_report(log, dense_test, gated_test, table.skippable, gated.count_params(), path)


def _print_report(
    log: Tee,
    dense: Evaluation,
    gated: Evaluation,
    skippable: float,
    parameters: int,
    path: Path,
) -> None:
    log(f"\nfinal report, {gated.images} test images")
    log(f"dense twin            {dense.accuracy:8.2%}   {dense.macs_dense} MACs")
    log(
        f"gated                 {gated.accuracy:8.2%}   {gated.macs_mean:.0f} MACs on average"
        f" ({gated.share:.1%}), {gated.macs_min} to {gated.macs_max}"
    )
    log(f"all gates open        {gated.macs_dense:8d} MACs, {skippable:.1%} of them skippable")
    log(f"constant masks        {gated.accuracy_constant:8.2%}")
    log(f"shuffled masks        {gated.accuracy_shuffled:8.2%}")
    log(f"distinct patterns     {gated.patterns:8d}")
    log(f"dynamic bits          {gated.dynamic_bits:8.1%}")
    for name, density in gated.density.items():
        log(f"{name:22s}{' '.join(f'{value:.2f}' for value in density)}")
    log(f"{path.name}: {parameters} parameters, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Writes the images that go with the demo network.

`demo/calibration.npz`: 200 training images; `demo/test.npz`: the first 1,000 test images.
Each holds `x` uint8 (N, 28, 28, 1), `y` int64 (N,) and `scale` float32, the model's input being
`x * scale`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from acsgen.nn.data_files import read_idx

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def load_split(folder: Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 28, 28, 1) uint8 and labels (N,) int64; `prefix` is "train" or "t10k"."""
    images = folder / f"{prefix}-images-idx3-ubyte.gz"
    if not images.exists():
        raise SystemExit(
            f"{images} not found: install the Debian package dataset-fashion-mnist, or name the"
            " folder with the four .gz files with --data"
        )
    x = read_idx(images)[..., None]
    return x, read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz").astype(np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        epilog="example: python demo/make_data.py --seed 0",
    )
    parser.add_argument("--data", type=Path, default=FASHION_MNIST, help="folder of the idx files")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="output folder")
    parser.add_argument("--seed", type=int, default=0, help="choice of the calibration images")
    options = parser.parse_args()

    x, y = load_split(options.data, "train")
    rows = np.sort(np.random.default_rng(options.seed).choice(len(x), 200, replace=False))
    test_x, test_y = load_split(options.data, "t10k")
    for name, images, labels in (
        ("calibration", x[rows], y[rows]),
        ("test", test_x[:1000], test_y[:1000]),
    ):
        path = options.out / f"{name}.npz"
        np.savez_compressed(path, x=images, y=labels, scale=np.float32(1 / 255))
        print(f"{path}: {len(images)} images, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()

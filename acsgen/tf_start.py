# SPDX-License-Identifier: Apache-2.0
"""Starts TensorFlow for training: on so many threads, with the fast kernels, and without its chatter."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from acsgen.errors import AcsgenError

__all__ = ["start_tensorflow"]


def start_tensorflow(threads: int) -> None:
    """Imports TensorFlow, if it has not been, and has it use this many processor threads.

    With more than one, results may differ in the last bits from run to run.
    Raises AcsgenError if it cannot be imported, or runs already with another number.
    """
    # oneDNN: without it steps are slow, those in bfloat16 very slow.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with _silent_stderr():
        from acsgen.frontend.keras import import_keras

        import_keras()
        import tensorflow as tf

        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError as error:
            raise AcsgenError("TensorFlow runs already, its number of threads cannot be changed any more") from error
        tf.constant(0) + 0  # what it says at its first operation, it says here


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """The C++ side says at each start which kernels it has, whatever TF_CPP_MIN_LOG_LEVEL is."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  a device
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)

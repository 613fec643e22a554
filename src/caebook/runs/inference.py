"""Networks as ONNX files, run by ONNX Runtime batch by batch."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime

from caebook.errors import RunError
from caebook.images import in_batches, to_float
from caebook.training.boundary import BOUNDARY

#: Images in a batch: as fast as 500, with a tenth of the working memory.
BATCH = 50


class Network:
    """One ONNX model: an encoder, a decoder or a classifier.

    Parameters
    ----------
    content : bytes
        An ONNX file.
    model : str
        ``"encoder"``, ``"decoder"`` or ``"classifier"``.
    name : str
        What errors call the file.

    Raises
    ------
    RunError
        If ONNX Runtime cannot use the file.
    """

    def __init__(self, content: bytes, model: str, name: str) -> None:
        self.source, self.target = BOUNDARY[model]
        self.name = name
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _threads()
        # Waiting threads must not keep a core busy: where others need it too, that took
        # twice as long.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena = False  # it keeps the memory of the largest batch
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base
            raise RunError(
                f"{name} is not an ONNX model that can be run: {error}"
            ) from error

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """float32 output for uint8 images, which become [0, 1], or float32 codes.

        Raises
        ------
        RunError
            If the model does not accept the values.
        """
        return in_batches(self._batch, values, BATCH)

    def _batch(self, values: np.ndarray) -> np.ndarray:
        if values.dtype == np.uint8:
            values = to_float(values)
        try:
            return self.session.run([self.target], {self.source: values})[0]
        except Exception as error:
            raise RunError(
                f"{self.name} does not turn {self.source} {values.shape} into "
                f"{self.target}: {error}"
            ) from error


def autoencode(encoder: Network, decoder: Network, images: np.ndarray) -> np.ndarray:
    """uint8 (N, 28, 28) → the decoder's float32 output, (N, 28, 28).

    Only one batch of codes is in memory at a time.
    """
    return in_batches(lambda batch: decoder(encoder(batch)), images, BATCH)


def _threads() -> int:
    """``$OMP_NUM_THREADS``, which ONNX Runtime does not read; 0 means all cores."""
    threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(threads) if threads.isdecimal() else 0

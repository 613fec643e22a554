"""Checkpoints: a training's state after each epoch, from which it resumes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from caebook.errors import CheckpointError
from caebook.files import replacing_file
from caebook.training.history import History


class Checkpoint:
    """The state of a training after its last finished epoch, in one ``.npz`` file.

    Parameters
    ----------
    path : Path or None
        The file; None saves nothing.
    *identity : object
        Everything that decides the training's outcome: framework and version, recipe,
        architecture, initial weights, data, seed. A file with another identity belongs
        to another training and is ignored.

    Notes
    -----
    Arrays are stored without pickle; writes are atomic.
    """

    def __init__(self, path: Path | None, *identity: object) -> None:
        self.path = None if path is None else Path(path)
        digest = hashlib.sha256()
        for part in identity if self.path else ():
            if isinstance(part, np.ndarray):
                digest.update(f"{part.dtype}{part.shape}".encode())
                digest.update(np.ascontiguousarray(part))
            else:
                digest.update(repr(part).encode())
        self.fingerprint = digest.hexdigest()

    def save(self, history: History, state: dict[str, np.ndarray]) -> None:
        """Write `state` and `history`, replacing the checkpoint in one step.

        Raises
        ------
        WriteError
            If it cannot be written; the previous checkpoint is unharmed, and the next
            training resumes from it.
        """
        if self.path is None:
            return
        about = {"fingerprint": self.fingerprint, "history": asdict(history)}
        with replacing_file(self.path) as file:
            np.savez(file, about=np.array(json.dumps(about)), **state)

    def load(self) -> tuple[History, dict[str, np.ndarray]] | None:
        """Read the last finished epoch, or None if this training has none.

        Raises
        ------
        CheckpointError
            If the file is damaged.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                state = {name: file[name] for name in file.files}
            about = json.loads(str(state.pop("about")))
            fingerprint, history = about["fingerprint"], History(**about["history"])
            epochs = {len(values) for values in asdict(history).values()}
            if len(epochs) != 1:
                raise ValueError("its history is incomplete")
        except Exception as error:  # a damaged archive can raise almost anything
            raise CheckpointError(
                f"{self.path} is damaged ({error}); delete it to train from the start"
            ) from error
        if fingerprint != self.fingerprint:
            print(f"{self.path.name} is of another training: training from the start")
            return None
        print(f"resuming after epoch {len(history.loss)} from {self.path.name}")
        return history, state

"""Histories: what a training reports after each epoch."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

LOGGER = logging.getLogger("caebook.training")


@dataclass
class History:
    """One entry per epoch: mean training loss, validation loss, training seconds."""

    loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, epochs: int, loss: float, val_loss: float, seconds: float) -> None:
        """Append an epoch; print it as a line for the reader, and log the same line.

        Parameters
        ----------
        epochs : how many there will be
        loss, val_loss : mean loss of an image, in training and in validation
        seconds : what the epoch's training took
        """
        self.loss.append(float(loss))
        self.val_loss.append(float(val_loss))
        self.seconds.append(float(seconds))
        line = (
            f"epoch {len(self.loss)}/{epochs}  loss {loss:.4f}  "
            f"val_loss {val_loss:.4f}  {seconds:.0f} s"
        )
        print(line, flush=True)
        LOGGER.info(line)

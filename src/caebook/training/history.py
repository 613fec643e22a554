"""Histories: what a training reports after each epoch."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class History:
    """One entry per epoch: mean training loss, validation loss, training seconds."""

    loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, epochs: int, loss: float, val_loss: float, seconds: float) -> None:
        """Append an epoch and print it as one line of plain text."""
        self.loss.append(float(loss))
        self.val_loss.append(float(val_loss))
        self.seconds.append(float(seconds))
        print(
            f"epoch {len(self.loss)}/{epochs}  loss {loss:.4f}  "
            f"val_loss {val_loss:.4f}  {seconds:.0f} s",
            flush=True,
        )

"""How soon our recipe reaches the quality that the source's recipe ends with.

Run it in the book's environment: ``python benchmarks/time_to_quality.py``. It takes an
hour or two, and goes on where it was stopped. ``--core`` and words of rows' names let
two processes share the work on two cores.

The network is `code16`. The source trains it with Keras's `fit`: Adam, batch 32, 20
epochs. All trainings see the same 55,000 images of MNIST and are scored on the same
5,000 others, which is the one change to the source's recipe: it trains on 60,000 and
validates on the test set. Each training has a process of its own, in one thread on one
core. Times are of training alone, without validation: processor time, and by the clock.

Other work on the machine slows even processor time down, by a third or more, and not
evenly over an hour. So the trainings that are compared are also timed one after the
other, 300 steps each, in several rounds; with the least of these, what a training takes
is its epochs times its pace.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from code16 import (
    IMAGES,
    KERAS,
    SEED,
    SOURCE,
    TORCH,
    Training,
    changed,
    epochs_of,
    epochs_of_fit,
)
from measuring import machine, parser, pin, run_part, save

from caebook import data
from caebook.files import locked, root, write_text
from caebook.provenance import git_version, now

SOURCE_NAME = "source, keras"
EPOCHS = (3, 4, 5, 6, 8)
PACE_IMAGES, ROUNDS = 9_600, 3
NOTE = """\
Training of `code16` until the validation BCE that the source's recipe ends with; that
is Keras's `fit`, Adam, batch 32, 20 epochs. Ours is one cycle of the learning rate with
a peak of 4e-3, batch 64, the loss on logits, and the last bias started at the mean
pixel, with the optimiser SOAP; each schedule is planned for its number of epochs. In
PyTorch the weights start from Keras's distribution. Ours computes the same network in a
cheaper form: it pools before ReLU, and convolves the small image in place of the
upsampled one. All see the same 55,000 images of MNIST and are validated on the same
5,000 others, in one thread on one core. The seconds are of training alone. Other work
on the machine slows processor time down too, so the last two columns compare the paces,
the least of three brief trainings of each kind in turn. The aim is 5 times as soon in
float32, and 8 times in bfloat16 where the processor has instructions for it."""


def rows() -> dict[str, Training]:
    """All trainings by name, in the order in which they are worth having."""
    named = {SOURCE_NAME: SOURCE}
    for reduced, start in ((False, "ours"), (True, "ours in bfloat16")):
        for ours in (TORCH, KERAS):
            for epochs in EPOCHS:
                name = f"{start}, {ours.framework}, {epochs} epochs"
                named[name] = changed(ours, epochs, bfloat16=reduced)
    changes: dict[str, dict] = {
        "PyTorch's own start": {"start": "own"},
        "layers as written": {"form": "written"},
        "constant learning rate 1e-3": {"schedule": "constant", "learning_rate": 1e-3},
        "cosine": {"schedule": "cosine"},
        "peak 2e-3": {"learning_rate": 2e-3},
        "peak 8e-3": {"learning_rate": 8e-3},
        "batch 32": {"batch_size": 32},
        "batch 128": {"batch_size": 128},
        "batch 256": {"batch_size": 256},
        "no initial bias": {"initial_bias": None},
        "BCE on pixels, not logits": {"logits": False},
        "Adam": {"method": "Adam"},
        "NAdam": {"method": "NAdam"},
        "AdamW": {"method": "AdamW"},
        "fused Adam": {"method": "Adam", "fused": True},
        "channels first": {"channels_last": False},
        "compiled": {"compiled": True},
        "averaged weights": {"averaged": True},
        "constant 1e-3, averaged weights": {
            "schedule": "constant", "learning_rate": 1e-3, "averaged": True
        },
    }  # fmt: skip
    for what, change in changes.items():
        named[f"torch, 3 epochs: {what}"] = changed(TORCH, 3, **change)
    for what in ("layers as written", "compiled", "BCE on pixels, not logits"):
        named[f"keras, 3 epochs: {what}"] = changed(KERAS, 3, **changes[what])
    return named


def train(name: str, count: int, epochs: int | None = None) -> dict:
    """Train a row in this process; return its epochs, and what it was trained by.

    Parameters
    ----------
    count : training images
    epochs : those of the row by default
    """
    training = rows()[name]
    epochs = epochs or training.recipe.epochs
    training = changed(training, epochs, train_images=count)
    images, _, validation, _ = data.load("auto-digits").training_split(count, SEED)
    if count < IMAGES:
        validation = validation[:500]
    run = epochs_of_fit if training.fit else epochs_of
    done = list(run(training, images, validation))
    return {
        "training": asdict(training),
        "bce": [round(epoch.bce, 6) for epoch in done],
        "processor_seconds": [round(epoch.processor, 2) for epoch in done],
        "clock_seconds": [round(epoch.clock, 2) for epoch in done],
    }


def paces() -> dict[str, float]:
    """Processor seconds of an epoch of each family, from brief trainings in turn."""
    found = {}
    for name in rows():
        if name.startswith(("source", "ours")) and family(name) not in found:
            brief = ["--images", str(PACE_IMAGES), "--epochs", "3"]
            row = run_part(__file__, ["--one", name, *brief])
            least = min(row["processor_seconds"][1:])
            found[family(name)] = least * IMAGES / PACE_IMAGES
    return found


def stamp() -> dict[str, str | None]:
    """When a row was measured, and at which commit."""
    return {"created": now(), "git": git_version()}


# ---- results ----------------------------------------------------------------------


class Rows:
    """The finished rows, in ``time_to_quality.json``; each is saved when it is done."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "time_to_quality.json"
        self.machine = machine()
        self.lock = root() / "build" / "benchmarks" / ".time_to_quality.lock"

    def read(self) -> dict[str, dict]:
        """The rows so far, by name.

        Raises
        ------
        SystemExit
            If they were measured on another machine, or with other versions.
        """
        if not self.path.is_file():
            return {}
        content = json.loads(self.path.read_text(encoding="utf-8"))
        if content["machine"] != self.machine:
            raise SystemExit(
                f"{self.path}: from another machine or other versions, with which "
                "nothing can be compared; move it away, or choose another --output"
            )
        return content["rows"]

    def add(self, name: str, row: dict) -> None:
        """Save a row in place of an earlier one; another process may add others."""
        with locked(self.lock):
            rows = {**self.read(), name: row}
            content = {"machine": self.machine, "rows": rows}
            write_text(self.path, json.dumps(content) + "\n")


def family(name: str) -> str:
    """The trainings whose steps are alike, and so is their pace: a name without epochs.

    "ours, torch, 4 epochs" is of the family "ours, torch".
    """
    return ", ".join(name.split(", ")[:2])


def compared(done: dict[str, dict]) -> list[dict]:
    """How soon each training is as good as the source's recipe is at its end."""
    source = done[SOURCE_NAME]
    target, whole = source["bce"][-1], len(source["bce"])
    rounds = done.get("pace", {}).get("rounds", [])
    table = []
    for name in [name for name in done if name.startswith(("source", "ours"))]:
        row, kind = done[name], family(name)
        reached = [epoch for epoch, bce in enumerate(row["bce"], 1) if bce <= target]
        epochs = whole if row is source else reached[0] if reached else None
        cells = {"training": name, "BCE at its end": row["bce"][-1], "epochs": epochs}
        cells |= {"processor s": None, "s by the clock": None, "times as soon": None}
        cells |= {"s/epoch by pace": None, "times as soon by pace": None}
        if rounds and kind in rounds[0]:
            pace, plain = (min(one[of] for one in rounds) for of in (kind, SOURCE_NAME))
            cells["s/epoch by pace"] = pace
            if epochs:
                cells["times as soon by pace"] = plain * whole / (pace * epochs)
        if epochs:
            spent, clock = row["processor_seconds"], row["clock_seconds"]
            cells["processor s"] = sum(spent[:epochs])
            cells["s by the clock"] = sum(clock[:epochs])
            all_of_it = sum(source["processor_seconds"])
            cells["times as soon"] = all_of_it / cells["processor s"]
        table.append(cells)
    return table


def better(name: str, done: dict[str, dict]) -> bool:
    """Whether fewer epochs of the same kind reached the source's quality already."""
    source = done.get(SOURCE_NAME)
    names = list(rows())
    shorter = [n for n in names[: names.index(name)] if family(n) == family(name)]
    shorter = [done[n] for n in shorter if n in done and n.startswith("ours")]
    return any(source and row["bce"][-1] <= source["bce"][-1] for row in shorter)


def helping(done: dict[str, dict], framework: str) -> list[dict]:
    """What each change to our recipe does, at equal epochs."""
    start = f"{framework}, 3 epochs: "
    ours = done.get(f"ours, {framework}, 3 epochs")
    if ours is None:
        return []
    named = {"ours": ours}
    named |= {n.removeprefix(start): done[n] for n in done if n.startswith(start)}
    return [
        {
            "change": what,
            "BCE": row["bce"][-1],
            "BCE above ours": row["bce"][-1] - ours["bce"][-1],
            # the first epoch also builds and compiles
            "processor s, first epoch": row["processor_seconds"][0],
            "s/epoch, later": min(row["processor_seconds"][1:], default=None),
        }
        for what, row in named.items()
    ]


def report(rows_of: Rows) -> None:
    """Print how soon each training reached the source's quality; add it to the file."""
    content = rows_of.read()
    done = {name: content[name] for name in [*rows(), "pace"] if name in content}
    if SOURCE_NAME not in done:
        print("nothing to compare with: the source's recipe has not been run yet")
        return
    tables = {
        "until the quality of the source's recipe": compared(done),
        "changes to our recipe in PyTorch, 3 epochs": helping(done, "torch"),
        "changes to our recipe in Keras, 3 epochs": helping(done, "keras"),
    }
    for number, one in enumerate(done.get("pace", {}).get("rounds", []), 1):
        rounds = tables.setdefault("processor seconds of an epoch, by pace", [])
        rounds.append({"round": number, **one})
    tables = {caption: table for caption, table in tables.items() if table}
    title = "The same quality, sooner"
    folder, name = rows_of.path.parent, rows_of.path.stem
    save(folder, name, title, NOTE, tables, rows=content)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("words", nargs="*", help="only rows whose names contain one")
    options.add_argument("--core", type=int, help="the core to use")
    options.add_argument("--again", action="store_true", help="repeat finished rows")
    options.add_argument("--one", help=argparse.SUPPRESS)
    options.add_argument("--images", type=int, help=argparse.SUPPRESS)
    options.add_argument("--epochs", type=int, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.one:
        print(json.dumps(train(chosen.one, chosen.images, chosen.epochs)))
        return 0
    pin(chosen.core)
    results = Rows(chosen.output)
    size = ["--images", "640", "--epochs", "2"] if chosen.quick else []
    size = size or ["--images", str(IMAGES)]

    def wanted(name: str) -> bool:
        asked = not chosen.words or any(word in name for word in chosen.words)
        return asked and (chosen.again or name not in results.read())

    for name in filter(wanted, rows()):
        if not chosen.quick and better(name, results.read()):
            continue  # the smallest number of epochs is known
        print(f"{name} …", file=sys.stderr, flush=True)
        results.add(name, {**run_part(__file__, ["--one", name, *size]), **stamp()})
    if wanted("pace") and not chosen.quick:
        results.add("pace", {"rounds": [paces() for _ in range(ROUNDS)], **stamp()})
    report(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())

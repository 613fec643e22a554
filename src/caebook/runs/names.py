"""Names of runs: ``<system>[+variant]-<framework>-<dataset>-s<seed>``."""

from __future__ import annotations

import re

from caebook.errors import RunError

_WORDS = "[a-z0-9]+(?:-[a-z0-9]+)*"
_RUN_ID = re.compile(
    rf"(?P<system>{_WORDS})(?:\+(?P<variant>{_WORDS}(?:\+{_WORDS})*))?"
    rf"-(?P<framework>keras|torch)-(?P<dataset>{_WORDS})-s(?P<seed>0|[1-9][0-9]*)"
)


def run_id(
    system: str, framework: str, dataset: str, variant: str = "source", seed: int = 0
) -> str:
    """Folder name of a run, e.g. ``shallow+short-keras-mnist-s0``.

    Raises
    ------
    RunError
        If `parse_id` would not split the name into the same parts.
    """
    suffix = "" if variant == "source" else f"+{variant}"
    name = f"{system}{suffix}-{framework}-{dataset}-s{seed}"
    if parse_id(name) != (system, framework, dataset, variant, seed):
        raise RunError(
            f"{name!r} is an ambiguous run name: it can be split in another way"
        )
    return name


def parse_id(name: str) -> tuple[str, str, str, str, int]:
    """System, framework, data set, variant and seed of a run: the inverse of `run_id`.

    Raises
    ------
    RunError
        If it is not the name of a run.
    """
    if (match := _RUN_ID.fullmatch(name)) is None:
        raise RunError(
            f"{name!r} is not a run's name: system, variant and data set are "
            "lower-case words, the framework is 'keras' or 'torch', the seed a whole "
            "number"
        )
    system, variant, framework, dataset, seed = match.groups()
    return system, framework, dataset, variant or "source", int(seed)

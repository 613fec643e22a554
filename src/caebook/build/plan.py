"""The plan of the trainings that the book concludes from: ``reference/plan.yml``.

``python -m caebook.build.plan`` (``make reference``) trains what ``reference/`` lacks,
through Snakemake: one job a run, one pinned thread a job, the most wanted first. It can
be stopped at any time, even killed, and resumes after the last finished epoch.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeInt,
    PositiveFloat,
    ValidationError,
)

from caebook.build import cluster, graph
from caebook.build.lock import only_build
from caebook.errors import CaebookError, PlanError, RunError
from caebook.files import root, write_text
from caebook.provenance import git_version
from caebook.runs import read, run_id
from caebook.training import FAST_RECIPE, SOURCE_RECIPES, Recipe
from caebook.validation import STRICT, describe

Framework = Literal["keras", "torch"]


class Group(BaseModel):
    """Trainings that answer one question: an entry of the plan.

    Attributes
    ----------
    question : what the book concludes from them
    system : name of the network, which `caebook.networks.build` makes
    recipe : the system's source's, or ours, which is `FAST_RECIPE`
    change : fields that replace those of the recipe
    dataset, split : images; "sorted" is the first part of a file sorted by class
    runs : for each variant, the arguments of the network's function
    seeds : for each framework
    minutes : estimate for one run, on one core with AVX2
    models : frameworks of which ``reference/`` keeps the first seed's models, not the
        record only
    prior : whether it keeps the prior beside them, which counts cannot replace
    """

    model_config = ConfigDict(**{**STRICT, "extra": "forbid"}, frozen=True)

    question: str
    system: str
    recipe: Literal["source", "ours"]
    change: dict[str, int | float | str | bool | None] = {}
    dataset: str = "mnist"
    split: Literal["shuffled", "sorted"] = "shuffled"
    runs: dict[str, dict[str, int | str]]
    seeds: dict[Framework, list[NonNegativeInt]]
    minutes: PositiveFloat
    models: list[Framework] = ["keras", "torch"]
    prior: bool = False

    def trainings(self) -> list[Training]:
        """All of its trainings: first seeds first."""
        recipe = FAST_RECIPE if self.recipe == "ours" else SOURCE_RECIPES[self.system]
        recipe = replace(recipe, **self.change)
        return [
            Training(
                name=run_id(self.system, framework, self.dataset, variant, seed),
                system=self.system,
                variant=variant,
                framework=framework,
                dataset=self.dataset,
                split=self.split,
                seed=seed,
                recipe=recipe,
                arguments=arguments,
                minutes=self.minutes,
                question=self.question,
                models=framework in self.models,
                prior=self.prior,
            )
            for seed in sorted({s for seeds in self.seeds.values() for s in seeds})
            for framework, seeds in self.seeds.items()
            if seed in seeds
            for variant, arguments in self.runs.items()
        ]


@dataclass(frozen=True)
class Training:
    """One training of the plan; see `Group`."""

    name: str
    system: str
    variant: str
    framework: Framework
    dataset: str
    split: str
    seed: int
    recipe: Recipe
    arguments: dict[str, int | str]
    minutes: float
    question: str
    models: bool = True
    prior: bool = False

    @property
    def files(self) -> list[str]:
        """What ``reference/`` keeps: of further seeds the record only."""
        if not self.models or self.seed > 0:
            return ["run.json"]
        models = ["classifier"] if self.system == "classifier" else []
        models = models or ["encoder", "decoder"]
        files = ["run.json", *(f"{model}.onnx" for model in models)]
        return [*files, "prior.npz"] if self.prior else files


def read_plan(path: Path | None = None) -> list[Training]:
    """The trainings of the plan, the most wanted first.

    Parameters
    ----------
    path : default ``reference/plan.yml``

    Raises
    ------
    PlanError
        If the plan cannot be read, a field is invalid, or two trainings have one name.
    """
    path = path or root() / "reference" / "plan.yml"
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(entries, list):
            raise PlanError(f"{path}: must be a list of groups of trainings")
        trainings = [t for entry in entries for t in Group(**entry).trainings()]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PlanError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        raise PlanError(f"{path}: {describe(error)}") from error
    except KeyError as error:
        raise PlanError(f"{path}: there is no recipe for {error}") from error
    except (RunError, TypeError, ValueError) as error:
        raise PlanError(f"{path}: {error}") from error
    names = [training.name for training in trainings]
    if twice := {name for name in names if names.count(name) > 1}:
        raise PlanError(f"{path}: names {', '.join(sorted(twice))} twice")
    return trainings


def find_training(name: str) -> Training:
    """The training of that name; PlanError if the plan has none."""
    for training in read_plan():
        if training.name == name:
            return training
    raise PlanError(f"reference/plan.yml has no training {name}")


def missing(plan: list[Training]) -> list[Training]:
    """The trainings whose run ``reference/`` lacks, or has by another recipe.

    Raises
    ------
    RunError
        If a run there is damaged.
    """
    return [training for training in plan if not _is_there(training)]


def _is_there(training: Training) -> bool:
    folder = root() / "reference" / training.name
    if not all((folder / name).is_file() for name in training.files):
        return False
    return read(folder).record.recipe == training.recipe


def folder() -> Path:
    """Where the queue works: its jobs, checkpoints, and runs that are not checked."""
    return root() / "build" / "reference"


def prepare(trainings: list[Training]) -> None:
    """Write down the jobs for Snakemake."""
    jobs = []
    for number, training in enumerate(trainings):
        name = training.name
        text = json.dumps(asdict(training), indent=1, sort_keys=True) + "\n"
        graph.write_if_changed(folder() / "inputs" / f"{name}.json", text)
        # A run that is missing is trained, whatever an earlier queue has done.
        record = folder() / "done" / f"{name}.json"
        record.unlink(missing_ok=True)
        jobs.append(
            graph.Job(
                name=name,
                command=["caebook.build.train_planned", name],
                inputs=[f"inputs/{name}.json"],
                record=str(record.relative_to(folder())),
                results=[],
                priority=len(trainings) - number,
            )
        )
    write_text(folder() / "jobs.json", json.dumps([asdict(j) for j in jobs], indent=1))


def describe_plan(plan: list[Training], wanted: list[Training]) -> str:
    """What is missing, by question, with an estimate of the time."""
    lines = [
        f"{len(plan) - len(wanted)} of {len(plan)} runs of reference/plan.yml are in "
        f"reference/; about {sum(t.minutes for t in wanted) / 60:.1f} core-hours "
        "(AVX2) are left."
    ]
    for question in dict.fromkeys(training.question for training in wanted):
        group = [training for training in wanted if training.question == question]
        lines.append(f"\n{question} ({sum(t.minutes for t in group) / 60:.1f} h)")
        lines += [f"  {t.name:<52} {t.minutes:4.0f} min" for t in group]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Train what is missing.

    Returns
    -------
    int
        Exit status: 0, 1 if something failed, 130 if it was interrupted.
    """
    parser = argparse.ArgumentParser(prog="python -m caebook.build.plan")
    parser.add_argument("--cores", type=int, help="trainings at a time")
    parser.add_argument(
        "--cluster", type=Path, metavar="PROFILE",
        help="submit the trainings to a cluster, e.g. by cluster/slurm",
    )  # fmt: skip
    parser.add_argument("--only", nargs="+", metavar="RUN", default=[])
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="list what is missing, train none"
    )
    chosen = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    started = time.monotonic()
    try:
        plan = read_plan()
        if unknown := set(chosen.only) - {training.name for training in plan}:
            raise PlanError(f"reference/plan.yml has no training {', '.join(unknown)}")
        wanted = missing(plan)
        wanted = [t for t in wanted if not chosen.only or t.name in chosen.only]
        print(describe_plan(plan, wanted), flush=True)
        if chosen.dry_run or not wanted:
            return 0
        if (commit := git_version()) is None or commit.endswith("-dirty"):
            raise PlanError(
                "a reference run names the commit that it was trained at: train in a "
                "checkout without changes (git worktree add ../queue HEAD)"
            )
        profile = cluster.check(chosen.cluster) if chosen.cluster else None
        with only_build(folder()):
            prepare(wanted)
            graph.run(folder(), chosen.cores, profile, "--keep-going")
    except CaebookError as error:
        print(f"\nNot all was trained.\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. `make reference` resumes after the last finished epochs.")
        return 130
    hours = (time.monotonic() - started) / 3600
    print(f"\nTrained {len(wanted)} runs in {hours:.1f} h: add and commit reference/.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

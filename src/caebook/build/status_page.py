"""The status page: what each chapter took, and with which versions."""

from __future__ import annotations

from caebook.build.chapters import Build, Execution
from caebook.provenance import versions

PACKAGES = (
    "tensorflow-cpu", "tensorflow", "keras", "torch", "numpy", "onnx", "onnxruntime",
    "scikit-image", "sewar", "pillow", "imagecodecs", "papermill", "jupyter-book",
)  # fmt: skip


def status_page(build: Build, executions: dict[str, Execution]) -> str:
    """The status page as Markdown.

    Parameters
    ----------
    executions : for each chapter what its execution took
    """
    rows = [
        f"| [{name}](notebooks/{name}.ipynb) | {done.seconds:.0f} | "
        f"{done.peak_memory_mb:,} | {done.created[:10]} |"
        for name, done in executions.items()
    ]
    installed = [
        f"| {name} | {version} |" for name, version in versions(PACKAGES).items()
    ]
    return "\n".join(
        [
            "# Status of this build",
            "",
            "Every page of this copy was computed as recorded here.",
            "",
            f"Profile `{build.profile}`, digits `{build.digits}`, letters "
            f"`{build.letters}`, seed {build.seed}.",
            "",
            "| chapter | seconds, one core | peak memory, MB | computed |",
            "|:--|--:|--:|:--|",
            *rows,
            "",
            "| package | version |",
            "|:--|:--|",
            *installed,
            "",
        ]
    )

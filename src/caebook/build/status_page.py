"""The status page: what each chapter took, and with which versions."""

from __future__ import annotations

from caebook.build.chapters import Build, Execution
from caebook.provenance import versions

PACKAGES = (
    "tensorflow-cpu", "tensorflow", "keras", "torch", "numpy", "onnx", "onnxruntime",
    "scikit-image", "sewar", "pillow", "imagecodecs", "papermill", "jupyter-book",
)  # fmt: skip


def status_page(build: Build, executions: dict[str, list[Execution]]) -> str:
    """The status page as Markdown.

    Parameters
    ----------
    executions : for each page below ``notebooks/`` its executions
    """
    rows = [
        f"| [{page}](notebooks/{page}.ipynb) | {len(done)} | "
        f"{sum(one.seconds for one in done):.0f} | "
        f"{max(one.peak_memory_mb for one in done):,} | "
        f"{max(one.created for one in done)[:10]} |"
        for page, done in executions.items()
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
            "| chapter | executions | seconds, one core | peak memory, MB | computed |",
            "|:--|--:|--:|--:|:--|",
            *rows,
            "",
            "| package | version |",
            "|:--|:--|",
            *installed,
            "",
        ]
    )

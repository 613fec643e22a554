"""Serve MathJax from the site itself, so that formulas need no network.

The wheel ``sphinx-mathjax-offline`` contains MathJax's released files. Its own Sphinx
extension copies all of them (tens of megabytes) and selects the output that needs web
fonts, which pages opened from a file cannot load. This extension copies a single script
to ``mathjax/`` in the site; it contains every TeX package and all glyphs as SVG.
"""

import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.fileutil import copy_asset_file

SCRIPT = "tex-svg-full.js"
SHA256 = "a4354ff94fd868aea0cc6eaaa79a57fda0588646fc46ee3700a349ee0a11cbe6"
"""SHA-256 of the script in release 3.2.2 of the npm package ``mathjax``."""

MATHJAX = {
    # The menu would fetch further scripts, which the site does not contain.
    "options": {"enableMenu": False},
    # Long formulas scroll inside their own box (book.css), at the size of the text.
    "svg": {"fontCache": "global", "mtextInheritFont": True},
}


def script_path() -> Path:
    """Path of MathJax's script in the installed wheel, after checking its SHA-256.

    Raises
    ------
    sphinx.errors.ExtensionError
        If the wheel is not installed, or its script is not the released one.
    """
    try:
        package = import_module("sphinx-mathjax-offline")
    except ImportError as error:
        raise ExtensionError(
            "MathJax is not installed: install requirements.lock, which lists "
            "sphinx-mathjax-offline"
        ) from error
    path = Path(package.__file__).parent / "static" / "mathjax" / SCRIPT
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise ExtensionError(
            f"{path} is not MathJax 3.2.2: reinstall sphinx-mathjax-offline in the "
            "version that requirements.lock lists"
        )
    return path


def use_local_script(app: Sphinx, config: Any) -> None:
    """Point Sphinx's MathJax extension at the copy in the site."""
    config.mathjax_path = f"../mathjax/{SCRIPT}"  # seen from _static/
    config.mathjax3_config = MATHJAX | (config.mathjax3_config or {})


def copy_script(app: Sphinx, exception: Exception | None) -> None:
    """Copy the script into the finished site."""
    if exception is None and app.builder.format == "html":
        target = Path(app.outdir) / "mathjax"
        target.mkdir(exist_ok=True)
        copy_asset_file(script_path(), target)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the hooks with Sphinx."""
    script_path()  # a missing wheel stops the build at its start
    app.setup_extension("sphinx.ext.mathjax")
    # MyST-NB sets its own MathJax options at the default priority, so run after it.
    app.connect("config-inited", use_local_script, priority=900)
    app.connect("build-finished", copy_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

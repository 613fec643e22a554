"""Show the same step in Keras and in PyTorch as one set of tabs.

Adjacent code cells of a notebook that are tagged ``tab-keras`` or ``tab-torch`` become
one sphinx-design tab-set, with one tab for each framework. All tab-sets of the book
share a sync group: sphinx-design's script switches them together and stores the choice
in the browser.

The prompts of folded solutions and of folded outputs are set here as well.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx_design.shared import create_component

LOGGER = logging.getLogger(__name__)

FRAMEWORKS = {"tab-keras": "Keras", "tab-torch": "PyTorch"}
"""Label of each tab by the tag of its cells, in the order of the tabs."""

SYNC_GROUP = "framework"
TAG_CLASS = "tag_"  # MyST-NB gives a cell one class for each of its tags


def cell_tags(node: nodes.Node) -> set[str]:
    """Tags of a notebook's code cell; empty for any other node."""
    if not isinstance(node, nodes.container) or node.get("nb_element") != "cell_code":
        return set()
    return {
        name.removeprefix(TAG_CLASS)
        for name in node["classes"]
        if name.startswith(TAG_CLASS)
    }


def framework_of(node: nodes.Node) -> str | None:
    """Tag of the framework that a cell is written in; None for any other node."""
    return next((tag for tag in FRAMEWORKS if tag in cell_tags(node)), None)


def group_cells(children: list[nodes.Node]) -> list[nodes.Node | list[nodes.Node]]:
    """Gather adjacent framework cells in lists; leave all other nodes as they are."""
    grouped: list[nodes.Node | list[nodes.Node]] = []
    for child in children:
        if framework_of(child) is None:
            grouped.append(child)
        elif grouped and isinstance(grouped[-1], list):
            grouped[-1].append(child)
        else:
            grouped.append([child])
    return grouped


def tab_set(cells: list[nodes.Node]) -> nodes.container:
    """Wrap framework cells in a tab-set, with one tab for each framework."""
    items = []
    for tag, name in FRAMEWORKS.items():
        own = [cell for cell in cells if framework_of(cell) == tag]
        if not own:
            LOGGER.warning(
                "A set of framework tabs has no cell tagged %r: tag one, or remove the "
                "tag of the other framework.",
                tag,
                location=cells[0],
                type="caebook",
                subtype="tabs",
            )
            continue
        label = nodes.rubric(name, name, classes=["sd-tab-label"])
        label["sync_group"], label["sync_id"] = SYNC_GROUP, tag
        content = create_component("tab-content", ["sd-tab-content"], children=own)
        items.append(
            create_component("tab-item", ["sd-tab-item"], children=[label, content])
        )
    return create_component("tab-set", ["sd-tab-set"], children=items)


class FrameworkTabs(SphinxTransform):
    """Turn adjacent framework cells into tab-sets."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        parents = list(self.document.findall(nodes.section))
        for parent in [self.document, *parents]:
            if not any(framework_of(child) for child in parent.children):
                continue
            grouped = group_cells(parent.children)
            # Remove the children first: a node can have only one parent.
            parent.clear()
            parent.extend(
                tab_set(entry) if isinstance(entry, list) else entry
                for entry in grouped
            )


class FoldPrompts(SphinxTransform):
    """Label a folded solution “Solution”, and a folded output as an output."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        for cell in self.document.findall(nodes.container):
            if "solution" in cell_tags(cell) and cell.get("hide_mode"):
                cell["prompt_show"], cell["prompt_hide"] = "Solution", "Hide solution"
            elif cell.get("hide_mode") == "output":
                cell["prompt_show"] = "Show the output"
                cell["prompt_hide"] = "Hide the output"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transforms with Sphinx."""
    app.add_transform(FrameworkTabs)
    app.add_transform(FoldPrompts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

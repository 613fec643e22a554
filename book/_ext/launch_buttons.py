"""Binder, Colab and repository links, for a site that knows where it is published.

``_config.yml`` names no address, because a copy of the book may live anywhere, or
nowhere. The build finds the address out and merges these settings into the staged
``_config.yml``; without an address the pages carry no such link at all.
"""

import re
from typing import Any

BRANCH = "main"

_ADDRESS = re.compile(
    r"""^(?:(?:https?|ssh|git)://(?:[^@/\s]*@)?   # scheme, perhaps a user
        |git@(?=[^/\s]+:)                         # or the short form of ssh
        )
        (?P<host>github\.com)(?::\d+)?[/:]
        (?P<owner>[A-Za-z0-9-]+)/(?P<name>[A-Za-z0-9._-]+?)
        (?:\.git)?/?$""",
    re.VERBOSE,
)
_SLUG = re.compile(r"^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$")


def public_address(repository: str | None) -> str | None:
    """Web address of a repository on GitHub, which Binder and Colab both can open.

    Parameters
    ----------
    repository
        ``owner/name`` as in ``GITHUB_REPOSITORY``, or a git remote in any of the usual
        spellings; ``None`` or an empty string where there is none.

    Returns
    -------
    str or None
        ``https://github.com/owner/name``, or ``None`` for anything else: a folder, a
        server of one's own, another host.
    """
    repository = (repository or "").strip()
    if _SLUG.match(repository):
        return f"https://github.com/{repository}"
    match = _ADDRESS.match(repository)
    return match and f"https://github.com/{match['owner']}/{match['name']}"


def site_config(repository: str | None) -> dict[str, Any]:
    """Settings to merge, key by key, into ``_config.yml``.

    Parameters
    ----------
    repository
        As for `public_address`.

    Returns
    -------
    dict
        Empty where no public address is known; else the sections ``repository``,
        ``launch_buttons`` and ``html`` with the keys to set.
    """
    url = public_address(repository)
    if url is None:
        return {}
    return {
        "repository": {"url": url, "branch": BRANCH},
        "launch_buttons": {
            "notebook_interface": "jupyterlab",
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
        },
        "html": {"use_repository_button": True, "use_issues_button": True},
    }

"""The `caebook` command."""

from caebook.cli.codec import main

__all__ = ["main"]

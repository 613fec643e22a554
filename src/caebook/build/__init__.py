"""Builds the book: ``python -m caebook.build reader`` is what ``make book`` calls.

`chapters` reads what a notebook declares, `imports` what it imports, and `graph` writes
both down for Snakemake. A job of the graph is `execute`, which runs one notebook and
checks the result with `pages`, or `site`, which puts the pages together with `status`
and `launch`. `lock` keeps two builds apart.
"""

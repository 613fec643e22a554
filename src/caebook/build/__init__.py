"""Builds the book: `python -m caebook.build reader` is what `make book` calls."""

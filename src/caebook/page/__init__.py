"""Puts computed values on a page: in running text, as tables, and as files to save."""

from caebook.page.tables import Downloads, Table, downloads, glue, provenance, table

__all__ = ["Downloads", "Table", "downloads", "glue", "provenance", "table"]

"""What notebooks put on a page: values in the text, tables, and files to save."""

from caebook.page.downloads import Downloads, downloads, provenance
from caebook.page.glue import glue
from caebook.page.tables import Table, table

__all__ = ["Downloads", "Table", "downloads", "glue", "provenance", "table"]

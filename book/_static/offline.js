/* Search results quote the pages they name, for which the script fetches each page. A
   browser refuses that where the book was opened as a file: list the titles only. */
if (window.location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS === "object") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

/* Makes tables of class "sortable" sortable by their heads, with mouse or keyboard.

   A head sorts up, then down, then gives back the page's own order. Cells that hold a
   number have it in full in data-value; an empty data-value means that there is none,
   and such cells come last either way. Rows that are equal keep the order they had, so
   sorting by one column and then by another sorts by both. Without this script a table
   simply stays as it is. */
(() => {
  "use strict";

  const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
  const words = new Intl.Collator(document.documentElement.lang || "en", {
    numeric: true,
  });

  /* A number, a text, or null for a missing value. */
  function valueOf(row, column) {
    const cell = row.cells[column];
    if (!cell || cell.dataset.value === "") return null;
    return cell.dataset.value === undefined
      ? cell.textContent.trim()
      : Number(cell.dataset.value);
  }

  /* Numbers before texts, so that a column may hold both. */
  function compare(first, second) {
    if (typeof first !== typeof second) return typeof first === "number" ? -1 : 1;
    if (typeof first === "string") return words.compare(first, second);
    return (first > second) - (first < second);
  }

  function sortRows(body, column, direction) {
    const sign = direction === "descending" ? -1 : 1;
    const keyed = [...body.rows].map((row) => [valueOf(row, column), row]);
    keyed.sort(([first], [second]) => {
      if (first === null || second === null) return (first === null) - (second === null);
      return sign * compare(first, second);
    });
    body.append(...keyed.map(([, row]) => row));
  }

  function prepare(table) {
    const body = table.tBodies[0];
    const heads = [...(table.tHead?.rows[0]?.cells ?? [])];
    if (!body) return;
    const order = [...body.rows];
    for (const [column, head] of heads.entries()) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      // A browser takes a head for visible when only its edge is. The mouse needs no help,
      // and a head must not move away while it is pressed.
      button.addEventListener("focus", () => {
        if (button.matches(":focus-visible")) {
          button.scrollIntoView({ block: "nearest", inline: "nearest" });
        }
      });
      button.addEventListener("click", () => {
        const direction = NEXT[head.getAttribute("aria-sort") ?? "none"];
        for (const other of heads) other.removeAttribute("aria-sort");
        if (direction === "none") {
          body.append(...order);
        } else {
          head.setAttribute("aria-sort", direction);
          sortRows(body, column, direction);
        }
      });
    }
  }

  function prepareAll() {
    document.querySelectorAll("table.sortable").forEach(prepare);
  }

  if (document.readyState === "loading") {
    document.addEventListener("DOMContentLoaded", prepareAll);
  } else {
    prepareAll();
  }
})();

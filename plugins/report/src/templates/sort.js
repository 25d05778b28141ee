"use strict";
// Sorts a table by the column whose title is chosen; rows without a value stay at the end.
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((title, column) => {
    if (title.classList.contains("plain")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...title.childNodes);
    title.append(button);
    button.addEventListener("click", () => {
      const down = title.getAttribute("aria-sort") === "ascending";
      title.parentNode.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      title.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.value;
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [p, q] = [value(a), value(b)];
        if (p === "" || q === "") return (p === "") - (q === "");
        const order = isNaN(p) || isNaN(q) ? p.localeCompare(q, undefined, { numeric: true }) : p - q;
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}

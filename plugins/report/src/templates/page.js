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
        const order = isNaN(p) || isNaN(q) ? p.localeCompare(q) : p - q;
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}
// Shows and hides the candidates of a class.
for (const box of document.querySelectorAll("#classes input")) {
  const show = () => document.getElementById("candidates").classList.toggle("without-" + box.value, !box.checked);
  box.addEventListener("change", show);
  show();
}
// Takes all overlays off and puts them back: the checkbox, or the key "o".
const overlays = document.getElementById("overlays");
if (overlays) {
  const show = () => document.body.classList.toggle("bare", !overlays.checked);
  overlays.addEventListener("change", show);
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("#viewer, input, textarea, select")) return;
    if (event.key === "o" && !event.ctrlKey && !event.metaKey && !event.altKey) {
      overlays.checked = !overlays.checked;
      show();
    }
  });
}

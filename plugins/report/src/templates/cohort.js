"use strict";
// Sorts the table by the column whose title is chosen; rows without a value stay at the end.
const table = document.getElementById("cases"), body = table.tBodies[0];
table.querySelectorAll("thead th").forEach((title, column) => {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...title.childNodes);
  title.append(button);
  button.addEventListener("click", () => {
    const down = title.getAttribute("aria-sort") === "ascending";
    title.parentNode.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    title.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => row.cells[column].dataset.value;
    const rows = [...body.rows].sort((a, b) => {
      const [p, q] = [value(a), value(b)];
      if (p === "" || q === "") return (p === "") - (q === "");
      const order = isNaN(p) || isNaN(q) ? p.localeCompare(q, undefined, { numeric: true }) : p - q;
      return down ? -order : order;
    });
    body.append(...rows);
  });
});
// Shows the rows that hold the words and are of the chosen kind.
const words = document.getElementById("words"), kind = document.getElementById("kind"), told = document.getElementById("shown");
function filter() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of body.rows) {
    const text = row.textContent.toLowerCase();
    const kinds = row.dataset.kinds.split("|");
    row.hidden = !(wanted.every((word) => text.includes(word)) && (kind.value === "" || kinds.includes(kind.value)));
    count += !row.hidden;
  }
  told.textContent = `${count} of ${body.rows.length} cases shown`;
}
words.addEventListener("input", filter);
kind.addEventListener("input", filter);
filter();

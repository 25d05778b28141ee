// Shows the rows that hold the words and are of the chosen kind.
const rows = [...document.getElementById("cases").tBodies[0].rows];
const words = document.getElementById("words"), kind = document.getElementById("kind"), told = document.getElementById("shown");
function filter() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const kinds = row.dataset.kinds.split("|");
    row.hidden = !(wanted.every((word) => text.includes(word)) && (kind.value === "" || kinds.includes(kind.value)));
    count += !row.hidden;
  }
  told.textContent = `${count} of ${rows.length} cases shown`;
}
words.addEventListener("input", filter);
kind.addEventListener("input", filter);
filter();

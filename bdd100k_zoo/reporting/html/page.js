"use strict";
// Tables with sortable columns. Rows without a value stay last in both directions.
const valueOf = (row, column) => {
  const cell = row.cells[column];
  const given = cell.dataset.value;
  if (given !== undefined) return Number(given);
  const text = cell.textContent.trim();
  return text === "" || text === "–" ? null : text;
};
const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
const sortBy = (table, heads, column) => {
  const head = heads[column];
  const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row, column), row]);
  const numeric = rows.some(([value]) => typeof value === "number");
  const before = head.getAttribute("aria-sort") || (numeric ? "ascending" : "descending");
  const sign = before === "ascending" ? -1 : 1;
  for (const each of heads) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
  table.tBodies[0].append(...rows.map(([, row]) => row));
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sortBy(table, heads, column));
  });
}
// Pictures open at their full size; Escape, a click or Enter closes them.
const dialog = document.createElement("dialog");
dialog.addEventListener("click", () => dialog.close());
for (const image of document.querySelectorAll(".picture img")) {
  const button = document.createElement("button");
  button.type = "button";
  image.replaceWith(button);
  button.append(image);
  button.addEventListener("click", () => {
    const large = image.cloneNode();
    const close = document.createElement("button");
    close.type = "button";
    close.append(large);
    dialog.replaceChildren(close);
    dialog.setAttribute("aria-label", image.alt);
    document.body.append(dialog);
    dialog.showModal();
  });
}
addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details")) each.open = true;
});

// Filters of the table of models: a row must match all that are set.
const loosely = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}\s]+/gu, "");
const filters = document.querySelector("form.filters");
const rows = [...document.querySelector(".models table").tBodies[0].rows];
const shown = document.querySelector(".shown");
const texts = rows.map((row) => {
  const cells = [...row.cells].map((cell) => cell.textContent);
  return [row, loosely([...cells, row.dataset.aliases].join(" "))];
});
const wanted = (key) => filters.querySelector(`[data-filter="${key}"]`).value.trim();
const fits = (row, text) => {
  const least = wanted("ap");
  return (
    wanted("text").split(/\s+/).every((word) => text.includes(loosely(word))) &&
    ["family", "backbone", "schedule"].every((key) => !wanted(key) || row.dataset[key] === wanted(key)) &&
    (least === "" || (row.dataset.ap !== "" && Number(row.dataset.ap) >= Number(least)))
  );
};
const filter = () => {
  let count = 0;
  for (const [row, text] of texts) {
    row.hidden = !fits(row, text);
    count += !row.hidden;
  }
  shown.textContent = count === rows.length ? `${count} models` : `${count} of ${rows.length} models`;
};
filters.addEventListener("input", filter);
filters.addEventListener("reset", () => setTimeout(filter));
filters.addEventListener("submit", (event) => event.preventDefault());
filters.hidden = false;
filter();

// Commands that can be copied. Without access to the clipboard they are selected, for the reader to copy.
const copy = async (button, code) => {
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code);
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), 2000);
};
for (const code of document.querySelectorAll(".command code")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.title = `Copy “${code.textContent}”`;
  button.addEventListener("click", () => copy(button, code));
  code.after(button);
}

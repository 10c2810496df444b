"use strict";
// Tables can be sorted, filtered and narrowed; without this script they are plain tables.

const element = (tag, attributes = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
};

// Values. A cell is found by its place: every row but those of sections and states has all columns.

const numeric = (text) => text !== "" && Number.isFinite(Number(text));

function valueOf(row, place) {
  const cell = row.cells[place];
  if (!cell || cell.colSpan > 1) return "";
  return place === 0 ? cell.textContent.trim() : cell.dataset.value;
}

function compare(a, b) {
  if (numeric(a) && numeric(b)) return Number(a) - Number(b);
  return a.localeCompare(b, "en", { numeric: true });
}

/** Return rows in order; rows without a value come last, equal rows keep their order. */
function ordered(rows, place, sign) {
  const empty = (row) => valueOf(row, place) === "";
  const found = rows.filter((row) => !empty(row));
  found.sort((a, b) => sign * compare(valueOf(a, place), valueOf(b, place)));
  return [...found, ...rows.filter(empty)];
}

// Sorting: a head is a button; best first, then worst first, then the order of the report.

function nextOrder(head) {
  const first = head.dataset.better === "higher" ? "descending" : "ascending";
  const second = first === "ascending" ? "descending" : "ascending";
  return { [first]: second, [second]: "" }[head.getAttribute("aria-sort")] ?? first;
}

function sortBy(table, head, original) {
  const order = nextOrder(head);
  for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
  if (order) head.setAttribute("aria-sort", order);
  const sign = order === "descending" ? -1 : 1;
  for (const [body, rows] of original) {
    body.append(...(order ? ordered(rows, head.cellIndex, sign) : rows));
  }
}

function makeSortable(table) {
  const bodies = [...table.tBodies];
  const original = bodies.map((body) => [body, [...body.querySelectorAll("tr[data-label]")]]);
  for (const head of table.tHead.rows[table.tHead.rows.length - 1].cells) {
    const button = element("button", { type: "button" }, ...head.childNodes);
    button.addEventListener("click", () => sortBy(table, head, original));
    head.append(button);
  }
}

// Controls above a table.

/** Return whether a row has one of the words, separated by commas, in its name. */
function matches(row, words) {
  const names = `${row.dataset.label}\n${row.cells[0].textContent}`.toLowerCase();
  const wanted = words.toLowerCase().split(",").map((word) => word.trim()).filter(Boolean);
  return wanted.length === 0 || wanted.some((word) => names.includes(word));
}

function filterControl(table, rows) {
  const count = element("output");
  const input = element("input", { type: "search", placeholder: "name, name" });
  table.addEventListener("rowschange", () => {
    const shown = rows.filter((row) => getComputedStyle(row).display !== "none").length;
    count.textContent = shown < rows.length ? `${shown} of ${rows.length} rows` : "";
  });
  input.addEventListener("input", () => {
    for (const row of rows) row.classList.toggle("filtered", !matches(row, input.value));
    table.dispatchEvent(new Event("rowschange"));
  });
  const name = table.tHead.rows[table.tHead.rows.length - 1].cells[0].dataset.column;
  return [element("label", {}, `Filter by ${name}`, input), count];
}

function hidingControl(table, words, name) {
  const box = element("input", { type: "checkbox", checked: true });
  box.addEventListener("change", () => {
    table.classList.toggle(name, !box.checked);
    fitGroups(table);
    table.dispatchEvent(new Event("rowschange"));
  });
  return element("label", {}, box, words);
}

/** Let the heads of groups span the columns that are shown. */
function fitGroups(table) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells].slice(1);
  let start = 0;
  for (const group of table.querySelectorAll("th[scope=colgroup]")) {
    group.dataset.span ??= group.colSpan;
    const own = heads.slice(start, (start += Number(group.dataset.span)));
    const shown = own.filter((head) => getComputedStyle(head).display !== "none").length;
    group.hidden = shown === 0;
    group.colSpan = Math.max(shown, 1);
  }
}

function makeControls(table) {
  const rows = [...table.querySelectorAll("tr[data-label]")];
  const columns = [...table.tHead.querySelectorAll("th[data-column]")].slice(1);
  const tasks = columns.filter((head) => head.classList.contains("task")).length;
  const made = rows.length > 3 ? filterControl(table, rows) : [];
  if (rows.some((row) => "control" in row.dataset)) {
    made.push(hidingControl(table, "frozen controls", "no-controls"));
  }
  if (tasks > 0 && tasks < columns.length) {
    made.push(hidingControl(table, "columns of single tasks", "no-tasks"));
  }
  return made;
}

for (const table of document.querySelectorAll("table[data-table]")) {
  makeSortable(table);
  const made = makeControls(table);
  if (made.length) table.parentElement.before(element("div", { className: "controls" }, ...made));
}

// Paper shows all notes, and then the page is as it was.

let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details.notes:not([open])")];
  for (const notes of closed) notes.open = true;
});
addEventListener("afterprint", () => {
  for (const notes of closed) notes.open = false;
});

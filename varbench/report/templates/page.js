"use strict";
// Uncovers images on request, sorts and filters tables, and shows where a number comes from.
// Without this script images stay covered, which is the safe side, and everything can be read.
const by = (id) => document.getElementById(id);
const every = (selector, root = document) => [...root.querySelectorAll(selector)];

// --- Covered images ---------------------------------------------------------------------------
const covers = every("button.cover");
const all = by("all");
const sure = by("sure");

for (const cover of covers) {
  const image = cover.querySelector("img");
  cover.covered = { src: image.src, alt: image.alt, label: cover.getAttribute("aria-label") };
}

function set(cover, clear) {
  const image = cover.querySelector("img");
  image.src = clear ? cover.dataset.clear : cover.covered.src;
  image.alt = clear ? cover.dataset.alt : cover.covered.alt;
  cover.setAttribute("aria-pressed", String(clear));
  cover.setAttribute("aria-label", clear ? cover.dataset.alt + ": cover it" : cover.covered.label);
}

function update() {
  if (!all) return;
  const clear = covers.every((cover) => cover.getAttribute("aria-pressed") === "true");
  all.setAttribute("aria-pressed", String(clear));
}

for (const cover of covers) {
  cover.addEventListener("click", () => {
    set(cover, cover.getAttribute("aria-pressed") !== "true");
    update();
  });
}

if (all) {
  all.addEventListener("click", () => {
    if (all.getAttribute("aria-pressed") !== "true") return sure.showModal();
    for (const cover of covers) set(cover, false);
    update();
  });
  sure.addEventListener("close", () => {
    if (sure.returnValue === "yes") for (const cover of covers) set(cover, true);
    sure.returnValue = "";
    update();
  });
}

// --- The address holds what is shown, so that it can be sent to somebody ------------------------
const parameters = () => new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");

function address(changes) {
  const now = parameters();
  for (const [name, value] of Object.entries(changes)) {
    if (value) now.set(name, value);
    else now.delete(name);
  }
  return "#" + now;
}

const remember = (changes) => history.replaceState(null, "", address(changes) || "#");

// --- Sorting ------------------------------------------------------------------------------------
function sort(head, direction) {
  const table = head.closest("table");
  const place = head.cellIndex;
  for (const other of every("thead th[aria-sort]", table)) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const order = (a, b) => {
    if (place === 0) return sign * a.dataset.method.localeCompare(b.dataset.method);
    const [x, y] = [a, b].map((row) => row.cells[place].dataset.value);
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
    return sign * (Number(x) - Number(y));
  };
  const rows = every("tbody tr:not(.base)", table).sort(order);
  table.tBodies[0].append(...rows); // the base model stays first
}

for (const head of every("thead th[aria-sort]")) {
  head.querySelector("button").addEventListener("click", () => {
    const first = head.dataset.better === "up" ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const direction = head.getAttribute("aria-sort") === first ? other : first;
    sort(head, direction);
    remember({ sort: [head.closest("table").id, head.cellIndex, direction].join("/") });
  });
}

// --- Filters ------------------------------------------------------------------------------------
const methods = by("methods");
const concept = by("concept");

function filter() {
  const words = methods.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
  const matches = (name) => {
    if (name === "none" || !words.length) return true;
    return words.some((word) => name.toLowerCase() === word || name.toLowerCase().startsWith(word + " "));
  };
  const rows = every("[data-method]");
  for (const row of rows) row.hidden = !matches(row.dataset.method);
  for (const grid of every(".grid")) {
    const shown = every(".names [data-method]", grid).filter((name) => !name.hidden);
    grid.style.setProperty("--columns", shown.length);
  }
  for (const panel of every("section.panel")) {
    panel.hidden = Boolean(concept && concept.value && panel.id !== concept.value);
  }
  const names = new Set(rows.map((row) => row.dataset.method));
  const matched = [...names].filter((name) => matches(name)).length;
  by("counted").value = words.length ? `${matched} of ${names.size} methods` : "";
}

function filtered() {
  filter();
  remember({ methods: methods.value.trim(), concept: concept ? concept.value : "" });
}

methods.addEventListener("input", filtered);
if (concept) concept.addEventListener("change", filtered);
by("filters").addEventListener("submit", (event) => event.preventDefault());
by("filters").hidden = false;

// --- Where a number comes from -------------------------------------------------------------------
const drawer = by("drawer");

function open(cell) {
  const row = cell.parentElement;
  const table = cell.closest("table");
  const panel = cell.closest("section");
  const head = table.tHead.rows[0].cells[cell.cellIndex];
  by("drawer-title").textContent = `${head.innerText.replace(/\s+/g, " ").trim()}: ${row.dataset.method}`;
  by("drawer-value").textContent = cell.innerText.replace(/\s+/g, " ").trim();
  by("drawer-facts").replaceChildren(
    ...[panel.querySelector("h2").textContent, ...cell.title.split("; ")].map((fact) => {
      const item = document.createElement("li");
      item.textContent = fact;
      return item;
    })
  );
  const source = every("details.source", panel).find((element) => element.dataset.method === row.dataset.method);
  by("drawer-source").replaceChildren(...(source ? [source.querySelector("dl").cloneNode(true)] : []));
  const number = [table.id, row.dataset.method, cell.cellIndex].join("/");
  by("drawer-link").href = address({ number });
  remember({ number });
  drawer.showModal();
}

for (const number of every("button.number")) {
  number.addEventListener("click", () => open(number.closest("td")));
}
by("drawer-close").addEventListener("click", () => drawer.close());
drawer.addEventListener("click", (event) => event.target === drawer && drawer.close());
drawer.addEventListener("close", () => remember({ number: "" }));

// --- Follow the address ---------------------------------------------------------------------------
function follow() {
  const state = parameters();
  methods.value = state.get("methods") || "";
  if (concept) concept.value = state.get("concept") || "";
  filter();
  const [sorted, column, direction] = (state.get("sort") || "").split("/");
  const head = by(sorted)?.tHead?.rows[0].cells[Number(column)];
  if (head && /^(a|de)scending$/.test(direction)) sort(head, direction);
  const [table, method, place] = (state.get("number") || "").split("/");
  const rows = every("tbody tr", by(table) || document.createElement("table"));
  const cell = rows.find((element) => element.dataset.method === method)?.cells[Number(place)];
  if (cell?.querySelector("button.number")) {
    for (let up = cell.closest("details"); up; up = up.parentElement.closest("details")) up.open = true;
    cell.scrollIntoView({ block: "center" });
    if (!drawer.open) open(cell);
  }
}

addEventListener("hashchange", follow);
follow();

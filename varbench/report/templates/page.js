"use strict";
// Uncovers pictures on request. Without this script they stay covered, which is the safe side.
const covers = [...document.querySelectorAll("button.cover")];
const all = document.getElementById("all");
const sure = document.getElementById("sure");

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

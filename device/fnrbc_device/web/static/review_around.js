// What lies round a cell: the unmasked picture with a scale bar, larger or smaller, brighter or darker.

import { at, say, session } from "./review_words.js";
import { _ } from "./words.js";

const BAR_UM = 10;
const ZOOMS = [1, 1.5, 2, 3, 4];

let zoom = 0;
let alone = false; // whether a person wants the cell alone
let shown = null; // the cell
let view = 0;

export const address = (kind, cell, number, ending) => `/review/${kind}/${encodeURIComponent(session)}/${cell}/${number}.${ending}`;

// Shows a cell's view; changed tells whether it is another than before.
export function drawView(cell, number) {
  const changed = shown?.cell !== cell.cell || view !== number;
  shown = cell;
  view = number;
  const kept = cell.around_um > 0;
  at("around").hidden = !kept || alone;
  at("crop").hidden = kept && !alone || !cell.pictures;
  at("no-picture").hidden = kept || cell.pictures > 0;
  at("tools").hidden = !kept;
  at("not-kept").hidden = kept;
  at("alone").setAttribute("aria-pressed", String(alone));
  if (changed && cell.pictures) at("crop").src = address("crop", cell.cell, number, "png");
  if (changed && kept) at("around-picture").src = address("around", cell.cell, number, "jpg");
  at("around-picture").alt = _("What lies round cell %(cell)s, %(um)s µm across", { cell: cell.cell, um: Math.round(cell.around_um) });
  drawScale();
}

function drawScale() {
  if (!shown?.around_um) return;
  const side = Math.min(at("around").clientWidth, at("around").clientHeight) * ZOOMS[zoom];
  at("around-picture").style.transform = `scale(${ZOOMS[zoom]})`;
  at("bar-line").style.width = `${(BAR_UM / shown.around_um) * side}px`;
  say("bar-words", `${BAR_UM} \u00b5m`);
}

export function showAlone() {
  alone = !alone;
  if (shown) drawView(shown, view);
}

export function enlarge(by) {
  zoom = Math.min(Math.max(zoom + by, 0), ZOOMS.length - 1);
  drawScale();
}

at("alone").addEventListener("click", showAlone);
at("larger").addEventListener("click", () => enlarge(1));
at("smaller").addEventListener("click", () => enlarge(-1));
at("brightness").addEventListener("input", (event) => {
  at("around-picture").style.filter = `brightness(${event.target.value}%)`;
});
new ResizeObserver(drawScale).observe(at("around"));

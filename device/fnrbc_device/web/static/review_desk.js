// The cell that is decided on: its picture, what the machine measured on it, and what was decided.

import { drawView } from "./review_around.js";
import { crop, image } from "./review_tiles.js";
import { at, className, glyph, me, say, threshold, words } from "./review_words.js";
import { _, decimal, language } from "./words.js";

let view = 0; // which view of the cell is large
let shown = null;

export function group(cell) {
  if (cell.beside) return "beside";
  if (!cell.candidate) return "near";
  return cell.indeterminate ? "indeterminate" : "target";
}

// cell: undefined where there is none. decisions: on it, in order; stands: the one that stands, or null; redraw: as things
// are then, after another view was chosen
export function drawDesk(cell, { decisions, stands, slide, redraw }) {
  at("shown").hidden = !cell;
  at("none").hidden = Boolean(cell);
  if (!cell) return say("none", _("No candidate yet. As soon as the session counts one, it is here."));
  if (shown !== cell.cell) view = 0;
  shown = cell.cell;
  drawOthers(cell, redraw);
  drawView(cell, view);
  at("crop").alt = cell.pictures > 1
    ? _("Cell %(cell)s, view %(view)s of %(views)s", { cell: cell.cell, view: view + 1, views: cell.pictures })
    : _("Cell %(cell)s, its best view", { cell: cell.cell });
  drawMeasured(cell);
  at("standing").hidden = !stands;
  at("standing").dataset.decision = stands?.decision ?? "";
  say("standing", stands ? `${glyph(stands)} ${words(stands)}` : "");
  slide.draw(at("place"), cell);
  drawHistory(decisions);
  return undefined;
}

function drawMeasured(cell) {
  say("name", _("Cell %(cell)s", { cell: cell.cell }));
  say("asked", {
    indeterminate: _("The machine leaves it open. Is it an fNRBC?"),
    target: _("The machine counts it as fNRBC. Is it one?"),
    near: _("The machine counts it as %(name)s, but only just. Is it an fNRBC?", { name: className(cell.class) }),
    beside: _("The machine counts it as %(name)s. Is that right?", { name: className(cell.class) }),
  }[group(cell)]);
  say("p", decimal(cell.p, 3));
  at("mark").style.setProperty("left", `${100 * cell.p}%`);
  at("bound").style.setProperty("left", `${100 * threshold}%`);
  say("diameter", `${decimal(cell.diameter_um, 1)} \u00b5m`);
  say("ratio", decimal(cell.nucleus_ratio, 2));
  say("views", String(cell.views));
}

// The other views of a cell: a touch on one makes it the large one.
function drawOthers(cell, redraw) {
  const wanted = `${cell.cell} ${view} ${cell.pictures}`;
  if (at("others").dataset.shown === wanted) return;
  at("others").dataset.shown = wanted;
  const numbers = Array.from({ length: cell.pictures }, (_, i) => i).filter((one) => one !== view);
  at("others").replaceChildren(...numbers.map((number) => {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(image(crop(cell.cell, number), 120, ""));
    button.setAttribute("aria-label", _("View %(view)s of %(views)s", { view: number + 1, views: cell.pictures }));
    button.addEventListener("click", () => { view = number; redraw(); });
    return button;
  }));
}

function drawHistory(decisions) {
  const lines = decisions.map((one) => {
    const line = document.createElement("li");
    const when = one.at ? new Date(one.at).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" }) : _("now");
    line.textContent = `${when} ${one.reviewer ?? me}: ${words(one)}`;
    return line;
  });
  at("history").replaceChildren(...lines.slice(-4));
}

// A cell as a small picture to be pressed, with what was decided on it.

import { address } from "./review_around.js";
import { className, glyph, words } from "./review_words.js";
import { _, decimal } from "./words.js";

export const crop = (cell, number = 0) => address("crop", cell, number, "png");

export const image = (src, side, alt) => Object.assign(document.createElement("img"), { src, width: side, height: side, alt, loading: "lazy" });

export function buttonOf(cell, go) {
  const button = document.createElement("button");
  const picture = image(crop(cell), 60, "");
  const badge = document.createElement("span");
  button.type = "button";
  badge.className = "badge";
  badge.setAttribute("aria-hidden", "true");
  button.append(picture, badge);
  button.addEventListener("click", () => go(cell));
  return button;
}

// A cell among all: its picture where one was kept, else its class in letters.
export function tile(one, go) {
  const own = Object.assign(document.createElement("div"), { className: "tile" });
  own.append(buttonOf(one.cell, go));
  if (!one.pictures) own.querySelector("img").replaceWith(Object.assign(document.createElement("span"), { className: "unseen-cell", textContent: className(one.class) }));
  return own;
}

// stands: the decision that stands on the cell, or null
export function dress(button, one, stands, current) {
  button.dataset.decision = stands?.decision ?? "";
  button.querySelector(".badge").textContent = stands ? glyph(stands) : "";
  button.setAttribute("aria-current", String(current));
  button.tabIndex = current ? 0 : -1;
  const said = stands ? `${glyph(stands)} ${words(stands)}` : _("open");
  button.setAttribute("aria-label", _("Cell %(cell)s, p %(p)s, %(said)s", { cell: one.cell, p: decimal(one.p, 2), said }));
}

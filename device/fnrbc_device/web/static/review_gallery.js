// The candidates as small pictures in groups, those nearest to the threshold first.

import { group } from "./review_desk.js";
import { buttonOf } from "./review_tiles.js";
import { at, say, threshold } from "./review_words.js";
import { _ } from "./words.js";

const GROUPS = ["indeterminate", "target", "near"]; // in the order that they are gone through

export class Gallery {
  // go: leads to a cell
  constructor(go) {
    this.go = go;
    this.box = at("gallery");
    this.nodes = new Map(); // the buttons, by cell
  }

  // Shows those that stand in the count, and gives them back as they are gone through.
  draw(counted) {
    const nearest = (one) => Math.abs(one.p - threshold);
    const sorted = [...counted].sort((one, other) => GROUPS.indexOf(group(one)) - GROUPS.indexOf(group(other)) || nearest(one) - nearest(other) || one.cell - other.cell);
    for (const id of GROUPS) {
      const items = sorted.filter((one) => group(one) === id).map((one) => (this.nodes.get(one.cell) ?? this.make(one.cell)).parentElement);
      const list = at(`of-${id}`);
      if (items.length !== list.children.length || items.some((item, i) => list.children[i] !== item)) list.replaceChildren(...items);
      say(`n-${id}`, items.length ? `(${items.length})` : _("(none)"));
    }
    return sorted;
  }

  make(cell) {
    const item = document.createElement("li");
    this.nodes.set(cell, item.appendChild(buttonOf(cell, this.go)));
    return this.nodes.get(cell);
  }

  // How many stand side by side.
  across(cell) {
    const list = this.nodes.get(cell)?.closest("ul");
    const tops = list ? [...list.children].map((item) => item.offsetTop) : [];
    return Math.max(1, tops.filter((top) => top === tops[0]).length);
  }

  // Brings a cell into sight. Only the gallery scrolls: on a phone the picture must stay where it is.
  reach(cell) {
    const node = this.nodes.get(cell);
    if (!node) return;
    if (this.box.contains(document.activeElement)) node.focus({ preventScroll: true });
    const [own, frame] = [node.getBoundingClientRect(), this.box.getBoundingClientRect()];
    if (own.top < frame.top) this.box.scrollTop -= frame.top - own.top + 8;
    if (own.bottom > frame.bottom) this.box.scrollTop += own.bottom - frame.bottom + 8;
  }
}

// All counted cells, as many as there are: only the rows in sight are in the page.

import { className } from "./review_words.js";

const TILE_PX = 68;
const ROWS_BEYOND = 3; // drawn above and beneath what is in sight, so that scrolling shows no gaps

const FIELDS = ["cell", "class", "p", "island", "x_um", "y_um", "diameter_um", "nucleus_ratio", "views", "pictures", "around_um"];

export class AllCells {
  // list: the box that scrolls; filter: the choice of a class; make: draws a cell's button; changed: told of a new choice
  constructor(list, filter, make, changed) {
    this.list = list;
    this.filter = filter;
    this.make = make;
    this.changed = changed;
    this.cells = new Map();
    this.shown = [];
    this.drawn = new Map();
    this.room = document.createElement("div");
    this.room.className = "room";
    list.append(this.room);
    list.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(list);
    filter.addEventListener("change", () => this.choose());
  }

  take({ classes, cells }) {
    this.cells = new Map(cells.map((row) => {
      const one = Object.fromEntries(FIELDS.map((name, i) => [name, row[i]]));
      return [one.cell, { ...one, class: classes[one.class], counted: true, candidate: false, beside: true }];
    }));
    const counts = new Map();
    for (const one of this.cells.values()) counts.set(one.class, (counts.get(one.class) ?? 0) + 1);
    const before = this.filter.value;
    const all = this.filter.options[0];
    this.filter.replaceChildren(all, ...[...counts].map(([name, n]) => new Option(`${className(name)} (${n})`, name)));
    this.filter.value = counts.has(before) ? before : "";
    this.choose();
  }

  choose() {
    const wanted = this.filter.value;
    this.shown = [...this.cells.values()].filter((one) => !wanted || one.class === wanted).map((one) => one.cell);
    this.places = new Map(this.shown.map((cell, place) => [cell, place]));
    this.clear();
    this.draw();
    this.changed();
  }

  get across() {
    return Math.max(1, Math.floor(this.list.clientWidth / TILE_PX));
  }

  draw() {
    if (!this.list.clientHeight) return;
    const across = this.across;
    this.room.style.height = `${Math.ceil(this.shown.length / across) * TILE_PX}px`;
    const first = Math.max(0, Math.floor(this.list.scrollTop / TILE_PX) - ROWS_BEYOND) * across;
    const last = (Math.ceil((this.list.scrollTop + this.list.clientHeight) / TILE_PX) + ROWS_BEYOND) * across;
    const wanted = new Set(this.shown.slice(first, last));
    for (const [cell, node] of this.drawn) {
      if (wanted.has(cell)) continue;
      node.remove();
      this.drawn.delete(cell);
    }
    for (const cell of wanted) {
      if (!this.drawn.has(cell)) {
        this.drawn.set(cell, this.make(this.cells.get(cell)));
        this.room.append(this.drawn.get(cell));
      }
      const place = this.places.get(cell);
      const at = `translate(${(place % across) * TILE_PX}px, ${Math.floor(place / across) * TILE_PX}px)`;
      if (this.drawn.get(cell).style.transform !== at) this.drawn.get(cell).style.transform = at;
    }
  }

  clear() {
    for (const node of this.drawn.values()) node.remove();
    this.drawn.clear();
  }

  // Brings a cell into sight.
  reach(cell) {
    const place = this.places?.get(cell);
    if (place === undefined) return;
    const top = Math.floor(place / this.across) * TILE_PX;
    if (top < this.list.scrollTop) this.list.scrollTop = top;
    if (top + TILE_PX > this.list.scrollTop + this.list.clientHeight) this.list.scrollTop = top + TILE_PX - this.list.clientHeight;
    this.draw();
  }
}

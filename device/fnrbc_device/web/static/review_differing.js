// The cells on which two readers decided otherwise, as a list to settle.

import { say, words } from "./review_words.js";
import { _ } from "./words.js";

export const SETTLED = "settled with the other reader"; // as the record names it

export class Differing {
  // list: where they stand; null where there is none, for a second reader. go: leads to a cell
  constructor(list, go) {
    this.list = list;
    this.go = go;
    this.cells = []; // with what each reader said
  }

  take({ cells }) {
    this.cells = cells;
    const open = cells.filter((one) => !one.settled).length;
    say("n-differing", cells.length ? `(${open})` : "");
  }

  isOpen(cell) {
    return !this.cells.find((one) => one.cell === cell)?.settled;
  }

  draw(current) {
    this.list.replaceChildren(...this.cells.map((one) => this.line(one)));
    this.mark(current);
  }

  line(one) {
    const item = document.createElement("li");
    const button = Object.assign(document.createElement("button"), { type: "button" });
    const stands = one.settled ? _("settled: %(words)s", { words: words(one.settled) }) : _("open");
    button.textContent = _("Cell %(cell)s: %(one)s says %(first)s, %(other)s says %(second)s (%(stands)s)",
      { cell: one.cell, one: one.first.reviewer, first: words(one.first), other: one.second.reviewer, second: words(one.second), stands });
    button.dataset.cell = one.cell;
    button.addEventListener("click", () => this.go(one.cell));
    item.append(button);
    return item;
  }

  mark(current) {
    for (const button of this.list?.querySelectorAll("button") ?? []) button.setAttribute("aria-current", String(Number(button.dataset.cell) === current));
  }
}

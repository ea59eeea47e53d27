// What was decided on each cell: all that the record has, and what is still on its way there.

export class Decisions {
  // sender: what this page has not got taken down yet
  constructor(sender) {
    this.sender = sender;
    this.bySeq = new Map(); // also what was taken back
    this.byCell = new Map(); // the same, by cell and seq
  }

  keep(one) {
    this.bySeq.set(one.seq, one);
    if (!this.byCell.has(one.cell)) this.byCell.set(one.cell, new Map());
    this.byCell.get(one.cell).set(one.seq, one);
  }

  // All decisions on a cell in order, those that are still on their way at the end.
  on(cell) {
    const found = [...(this.byCell.get(cell)?.values() ?? [])].sort((one, other) => one.seq - other.seq);
    const known = new Set(found.map((one) => one.request));
    const unsent = this.sender.waiting.filter((one) => one.cell === cell && !known.has(one.request));
    return [...found, ...unsent.map((one) => ({ ...one, class: one.class_name, seq: one.request, undoes: this.sender.undoes(one) }))];
  }

  // The decision that stands on a cell, or null where none does.
  standing(cell) {
    const all = this.on(cell);
    const undone = new Set(all.map((one) => one.undoes).filter(Boolean));
    return all.filter((one) => one.decision !== "undone" && !undone.has(one.seq)).at(-1) ?? null;
  }
}

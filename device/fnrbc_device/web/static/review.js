// The review page: shows candidates one by one, sends what a person decides, and shows what others decide meanwhile.

import { AllCells } from "./review_all.js";
import { enlarge, showAlone } from "./review_around.js";
import { Decisions } from "./review_decisions.js";
import { drawDesk } from "./review_desk.js";
import { Differing, SETTLED } from "./review_differing.js";
import { Gallery } from "./review_gallery.js";
import { Slide } from "./review_place.js";
import { Sender } from "./review_sender.js";
import { dress, tile } from "./review_tiles.js";
import { answer, at, classes, drawTally, me, notice, reader, say, session, words } from "./review_words.js";
import { _ } from "./words.js";

const POLL_MS = 500; // for what the machine counts; of what people decide the appliance tells at once
const AWAY_MS = 1000;
const HIDDEN_POLL_MS = 5000;
const ALL_MS = 30000; // ten thousand cells are a megabyte

const named = `session=${encodeURIComponent(session)}&reader=${reader}`;

const cells = new Map(); // what the machine says of each candidate, by its number
const mine = []; // requests of this browser's own decisions, the newest last
let counted = []; // what stands in the count, as it is gone through
let current = null;
let moved = false; // whether a person went to this cell, rather than being led to it
let seq = 0;
let signed = null;
let tab = "candidates";

const sender = new Sender(`fnrbc-review-${session}-${reader}-${me}`, taken, refused, drawUnsent);

const record = new Decisions(sender);
const all = new AllCells(at("all-cells"), at("all-class"), made, () => { if (tab === "all" && !order().includes(current)) goToFirst(); });
const gallery = new Gallery(go);
const differing = new Differing(at("differing"), go);
const slide = new Slide(named, drawCurrent);

const standing = (cell) => record.standing(cell);

// --- deciding -------------------------------------------------------------------------------------------------------

function decide(decision, name = "") {
  if (current === null || signed) return undefined;
  // Nothing is open any more: a key pressed once too often must not change the last cell.
  if (!moved && sender.isOurs(standing(current)?.request)) return notice(_("All are decided on. Go to a cell to change what you said."));
  const note = tab === "differing" ? SETTLED : "";
  mine.push(sender.ask({ session, cell: current, decision, class_name: name, reader: Number(reader), note }));
  at("spoken").textContent = _("Cell %(cell)s: %(words)s", { cell: current, words: words({ decision, class: name }) });
  drawThumb(current);
  go(nextOpen() ?? current, false);
  drawCounts();
  return undefined;
}

// Takes back what stands on the cell that a person went to, else this browser's newest decision.
function undo() {
  if (signed) return undefined;
  const here = moved || !mine.length ? standing(current) : null;
  const key = here?.seq ?? newestOfMine();
  const one = key && (here ?? sender.waiting.find((ask) => ask.request === key) ?? record.bySeq.get(key));
  if (!one) return notice(_("There is nothing to undo."));
  sender.takeBack({ session, cell: one.cell, decision: "undone", reader: Number(reader) }, key);
  at("spoken").textContent = _("Cell %(cell)s: %(words)s", { cell: one.cell, words: _("taken back") });
  drawThumb(one.cell);
  go(one.cell, false);
  drawCounts();
  return undefined;
}

function newestOfMine() {
  while (mine.length) {
    const request = mine.pop();
    const key = sender.seqOf(request) ?? request;
    const cell = record.bySeq.get(key)?.cell ?? sender.waiting.find((ask) => ask.request === request)?.cell;
    if (record.on(cell).some((one) => one.seq === key) && standing(cell)?.seq === key) return key;
  }
  return null;
}

function taken(ask, answer) {
  record.keep({ ...ask, seq: answer.seq, class: ask.class_name ?? "", reviewer: answer.reviewer, at: new Date().toISOString() });
  drawCell(ask.cell);
  poll(); // the counts are the record's: ask for them at once
}

function refused(ask, sentence) {
  notice(_("Cell %(cell)s: not taken down. %(why)s", { cell: ask.cell, why: sentence }));
  drawCell(ask.cell);
}

// --- moving ---------------------------------------------------------------------------------------------------------

function go(cell, byHand = true) {
  const before = current;
  current = cell;
  if (all.cells.has(cell) && !cells.has(cell)) cells.set(cell, all.cells.get(cell));
  moved = byHand;
  for (const one of [before, cell]) if (one !== null) drawThumb(one);
  drawCurrent();
  if (tab === "all") all.reach(cell);
  if (tab === "candidates") gallery.reach(cell);
}

// Numbers of the cells that are gone through; near misses are among them once somebody has opened their group.
function order() {
  if (tab === "all") return all.shown;
  if (tab === "differing") return differing.cells.map((one) => one.cell);
  return counted.filter((one) => one.candidate || at("near").open).map((one) => one.cell);
}

function nextOpen() {
  const there = order();
  const from = there.indexOf(current) + 1;
  return [...there.slice(from), ...there.slice(0, from)].find((cell) => cell !== current && isOpen(cell));
}

function isOpen(cell) {
  return tab === "differing" ? differing.isOpen(cell) : !standing(cell);
}

function step(by) {
  const there = order();
  const to = there[Math.min(Math.max(there.indexOf(current) + by, 0), there.length - 1)];
  if (to !== undefined) go(to);
}

function row() {
  return tab === "all" ? all.across : gallery.across(current);
}

const KEYS = {
  f: () => decide("confirmed"),
  Enter: () => decide("confirmed"),
  r: () => decide("rejected"),
  u: undo,
  n: () => go(nextOpen() ?? current),
  v: showAlone,
  "+": () => enlarge(1),
  "-": () => enlarge(-1),
  ArrowRight: () => step(1),
  ArrowLeft: () => step(-1),
  ArrowDown: () => step(row()),
  ArrowUp: () => step(-row()),
};

addEventListener("keydown", (event) => {
  const plain = !(event.ctrlKey || event.metaKey || event.altKey);
  if ((event.ctrlKey || event.metaKey) && event.key === "z") return event.preventDefault(), undo();
  if (!plain || event.repeat && !event.key.startsWith("Arrow")) return undefined;
  const elsewhere = event.target.closest("a, summary, input, select, .actions button, .tools button, .tabs button, .differing button");
  if (event.key === "Enter" && elsewhere) return undefined;
  const other = classes[Number(event.key) - 1];
  const act = other ? () => decide("reclassified", other) : KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || current === null) return undefined;
  event.preventDefault();
  return act();
});

at("actions").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || current === null) return;
  const acts = { confirm: () => decide("confirmed"), reject: () => decide("rejected"), undo, class: () => decide("reclassified", button.dataset.class) };
  acts[button.dataset.do]();
});

// --- drawing --------------------------------------------------------------------------------------------------------

function drawCell(cell) {
  drawThumb(cell);
  if (cell === current) drawCurrent();
  drawCounts();
}

function drawThumb(cell) {
  for (const button of [gallery.nodes.get(cell), all.drawn.get(cell)?.firstChild]) if (button) clothe(button, cell);
}

function clothe(button, cell) {
  dress(button, cells.get(cell), standing(cell), cell === current);
}

function drawGallery() {
  counted = gallery.draw([...cells.values()].filter((one) => one.counted && !one.beside));
  counted.forEach((one) => drawThumb(one.cell));
  if (!order().includes(current)) goToFirst();
}

function goToFirst() {
  const there = order();
  go(there.find(isOpen) ?? there[0] ?? null, false);
}

// --- all cells, and those on which the readers differ ----------------------------------------------------------------

// One among all, as it comes into sight.
function made(one) {
  if (!cells.has(one.cell)) cells.set(one.cell, one);
  const own = tile(one, go);
  clothe(own.firstChild, one.cell);
  return own;
}

async function choose(name) {
  tab = name;
  for (const button of document.querySelectorAll(".tabs button")) button.setAttribute("aria-pressed", String(button.dataset.tab === name));
  at("gallery").hidden = name !== "candidates";
  at("tab-all").hidden = name !== "all";
  if (at("tab-differing")) at("tab-differing").hidden = name !== "differing";
  if (name === "all") await lookAtAll();
  if (name === "differing") await lookAtDiffering();
  if (!order().includes(current)) goToFirst();
}

async function lookAtAll() {
  const found = await answer(`/review/all?${named}`, ALL_MS);
  if (found) all.take(found);
}

async function lookAtDiffering() {
  const found = reader === "1" ? await answer(`/review/differing?${named}`) : null;
  if (!found) return;
  differing.take(found);
  if (tab !== "differing") return;
  if (differing.cells.some((one) => !cells.has(one.cell)) && !all.cells.size) await lookAtAll();
  for (const one of differing.cells) if (!cells.has(one.cell) && all.cells.has(one.cell)) cells.set(one.cell, all.cells.get(one.cell));
  differing.draw(current);
}

for (const button of document.querySelectorAll(".tabs button")) button.addEventListener("click", () => choose(button.dataset.tab));

function drawCurrent() {
  const [decisions, stands] = current === null ? [[], null] : [record.on(current), standing(current)];
  drawDesk(cells.get(current), { decisions, stands, slide, redraw: drawCurrent });
  differing.mark(current);
}

function drawCounts() {
  const asked = counted.filter((one) => one.candidate);
  const stands = asked.map((one) => standing(one.cell)).filter(Boolean);
  say("done", String(stands.length));
  say("all", String(asked.length));
  at("bar").value = asked.length ? stands.length / asked.length : 0;
  at("bar").textContent = _("%(part)s of %(whole)s", { part: stands.length, whole: asked.length });
  say("complete", asked.length && stands.length === asked.length ? _(": all of them") : "");
  at("to-sign").hidden = !asked.length || stands.length < asked.length || Boolean(signed) || reader === "2";
  for (const button of at("actions").children) button.disabled = current === null || Boolean(signed);
}

function drawUnsent() {
  const late = sender.late;
  at("unsent").hidden = !late && !signed;
  if (signed) say("unsent", _("This session is signed off: it stays as it is."));
  else if (late) say("unsent", _("%(count)s not taken down yet. They are kept here and sent as soon as the appliance answers.", { count: sender.waiting.length }));
}

// --- what others do -------------------------------------------------------------------------------------------------

function heard(one) {
  if (record.bySeq.has(one.seq)) return;
  const before = standing(one.cell);
  record.keep(one);
  if (!seq || sender.isOurs(one.request) || !before || !sender.isOurs(before.request)) return;
  notice(_("Cell %(cell)s: %(name)s decided “%(now)s” after your “%(before)s”. The later one stands; both are on record.", { cell: one.cell, name: one.reviewer, now: words(one), before: words(before) }));
}

let asking = false;
let again = false;
let next = 0;

async function poll() {
  again = asking;
  if (asking) return;
  asking = true;
  clearTimeout(next);
  const fields = await answer(`/review/cells?${named}&since=${seq}`);
  if (fields) take(fields);
  asking = false;
  next = setTimeout(poll, again ? 0 : document.hidden ? HIDDEN_POLL_MS : POLL_MS);
}

function take(fields) {
  if (fields.seq < seq) return location.reload(); // another record lies there
  if (fields.cells) {
    for (const one of fields.cells) cells.set(one.cell, one);
    for (const one of fields.decisions) heard(one);
    signed = fields.signed;
    drawUnsent();
    drawTally(fields.tally, fields.machine, fields.agreement);
    drawGallery();
    drawCurrent();
    drawCounts();
    if (reader === "1" && fields.decisions.length) lookAtDiffering();
    if (!seq || fields.cells.some((one) => one.counted)) slide.look();
  }
  seq = fields.seq;
  return undefined;
}

at("crop").addEventListener("error", () => {
  at("crop").hidden = true;
  at("no-picture").hidden = !at("around").hidden;
});
at("near").addEventListener("toggle", () => {
  drawGallery();
  drawCounts();
});
// Another person's decision is asked for as soon as there is one.
async function listen(known) {
  const told = await answer(`/review/told?known=${known}`);
  if (!told) await new Promise((done) => { setTimeout(done, AWAY_MS); });
  else if (told.number !== known) poll();
  listen(told?.number ?? known);
}

addEventListener("resize", drawCurrent);
poll();
listen(0);
slide.lookAtMosaics();

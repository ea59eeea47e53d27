// The review page: shows candidates one by one, sends what a person decides, and shows what others decide meanwhile.

import { AllCells } from "./review_all.js";
import { address, drawView, enlarge, showAlone } from "./review_around.js";
import { drawPlace } from "./review_place.js";
import { Sender } from "./review_sender.js";
import { answer, at, classes, className, drawTally, glyph, me, notice, reader, say, session, threshold, words } from "./review_words.js";
import { _, decimal, language } from "./words.js";

const POLL_MS = 500; // for what the machine counts; of what people decide the appliance tells at once
const AWAY_MS = 1000;
const HIDDEN_POLL_MS = 5000;
const ALL_MS = 30000; // ten thousand cells are a megabyte

const GROUPS = ["indeterminate", "target", "near"]; // in the order that they are gone through

const SETTLED = "settled with the other reader"; // as the record names it

const named = `session=${encodeURIComponent(session)}&reader=${reader}`;

const cells = new Map(); // what the machine says of each candidate, by its number
const decisions = new Map(); // by seq: all that was decided, also what was taken back
const decided = new Map(); // the same, by cell and seq
const nodes = new Map(); // of the gallery, by cell
const mine = []; // requests of this browser's own decisions, the newest last
let counted = []; // what stands in the count, as it is gone through
let current = null;
let moved = false; // whether a person went to this cell, rather than being led to it
let seq = 0;
let signed = null;
let places = [];
let mosaics = [];
let tab = "candidates";
let differing = []; // cells on which two readers decided otherwise, with what each said
let view = 0; // which view of the current cell is large

const sender = new Sender(`fnrbc-review-${session}-${reader}-${me}`, taken, refused, drawUnsent);

// --- what stands ----------------------------------------------------------------------------------------------------

// All decisions on a cell in order, those that are still on their way at the end.
function decisionsOn(cell) {
  const found = [...(decided.get(cell)?.values() ?? [])].sort((one, other) => one.seq - other.seq);
  const known = new Set(found.map((one) => one.request));
  const unsent = sender.waiting.filter((one) => one.cell === cell && !known.has(one.request));
  return [...found, ...unsent.map((one) => ({ ...one, class: one.class_name, seq: one.request, undoes: sender.undoes(one) }))];
}

function keep(one) {
  decisions.set(one.seq, one);
  if (!decided.has(one.cell)) decided.set(one.cell, new Map());
  decided.get(one.cell).set(one.seq, one);
}

function standing(cell) {
  const all = decisionsOn(cell);
  const undone = new Set(all.map((one) => one.undoes).filter(Boolean));
  return all.filter((one) => one.decision !== "undone" && !undone.has(one.seq)).at(-1) ?? null;
}

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
  const one = key && (here ?? sender.waiting.find((ask) => ask.request === key) ?? decisions.get(key));
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
    const cell = decisions.get(key)?.cell ?? sender.waiting.find((ask) => ask.request === request)?.cell;
    if (decisionsOn(cell).some((one) => one.seq === key) && standing(cell)?.seq === key) return key;
  }
  return null;
}

function taken(ask, answer) {
  keep({ ...ask, seq: answer.seq, class: ask.class_name ?? "", reviewer: answer.reviewer, at: new Date().toISOString() });
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
  if (before !== cell) view = 0;
  if (all.cells.has(cell) && !cells.has(cell)) cells.set(cell, all.cells.get(cell));
  moved = byHand;
  for (const one of [before, cell]) if (one !== null) drawThumb(one);
  drawDesk();
  if (tab === "all") return all.reach(cell);
  const node = nodes.get(cell);
  if (!node || tab !== "candidates") return undefined;
  if (at("gallery").contains(document.activeElement)) node.focus({ preventScroll: true });
  const [box, frame] = [node.getBoundingClientRect(), at("gallery").getBoundingClientRect()];
  // Only the gallery scrolls: on a phone the picture must stay where it is.
  if (box.top < frame.top) at("gallery").scrollTop -= frame.top - box.top + 8;
  if (box.bottom > frame.bottom) at("gallery").scrollTop += box.bottom - frame.bottom + 8;
  return undefined;
}

// Numbers of the cells that are gone through; near misses are among them once somebody has opened their group.
function order() {
  if (tab === "all") return all.shown;
  if (tab === "differing") return differing.map((one) => one.cell);
  return counted.filter((one) => one.candidate || at("near").open).map((one) => one.cell);
}

function nextOpen() {
  const there = order();
  const from = there.indexOf(current) + 1;
  return [...there.slice(from), ...there.slice(0, from)].find((cell) => cell !== current && isOpen(cell));
}

function isOpen(cell) {
  return tab === "differing" ? !differing.find((one) => one.cell === cell)?.settled : !standing(cell);
}

function step(by) {
  const there = order();
  const to = there[Math.min(Math.max(there.indexOf(current) + by, 0), there.length - 1)];
  if (to !== undefined) go(to);
}

function row() {
  if (tab === "all") return all.across;
  const list = nodes.get(current)?.closest("ul");
  const tops = list ? [...list.children].map((item) => item.offsetTop) : [];
  return Math.max(1, tops.filter((top) => top === tops[0]).length);
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
  if (cell === current) drawDesk();
  drawCounts();
}

function thumb(cell) {
  const item = document.createElement("li");
  nodes.set(cell, item.appendChild(buttonOf(cell)));
  return nodes.get(cell);
}

function buttonOf(cell) {
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

function image(src, side, alt) {
  return Object.assign(document.createElement("img"), { src, width: side, height: side, alt, loading: "lazy" });
}

function crop(cell, number = 0) {
  return address("crop", cell, number, "png");
}

function drawThumb(cell) {
  for (const button of [nodes.get(cell), all.drawn.get(cell)?.firstChild]) if (button) dress(button, cell);
}

function dress(button, cell) {
  const stands = standing(cell);
  button.dataset.decision = stands?.decision ?? "";
  button.querySelector(".badge").textContent = stands ? glyph(stands) : "";
  button.setAttribute("aria-current", String(cell === current));
  button.tabIndex = cell === current ? 0 : -1;
  const said = stands ? `${glyph(stands)} ${words(stands)}` : _("open");
  button.setAttribute("aria-label", _("Cell %(cell)s, p %(p)s, %(said)s", { cell, p: decimal(cells.get(cell).p, 2), said }));
}

function group(cell) {
  if (cell.beside) return "beside";
  if (!cell.candidate) return "near";
  return cell.indeterminate ? "indeterminate" : "target";
}

function drawGallery() {
  counted = [...cells.values()].filter((one) => one.counted && !one.beside);
  const nearest = (one) => Math.abs(one.p - threshold);
  counted.sort((one, other) => GROUPS.indexOf(group(one)) - GROUPS.indexOf(group(other)) || nearest(one) - nearest(other) || one.cell - other.cell);
  for (const id of GROUPS) {
    const items = counted.filter((one) => group(one) === id).map((one) => (nodes.get(one.cell) ?? thumb(one.cell)).parentElement);
    const list = at(`of-${id}`);
    if (items.length !== list.children.length || items.some((item, i) => list.children[i] !== item)) list.replaceChildren(...items);
    say(`n-${id}`, items.length ? `(${items.length})` : _("(none)"));
  }
  counted.forEach((one) => drawThumb(one.cell));
  if (!order().includes(current)) goToFirst();
}

function goToFirst() {
  const there = order();
  go(there.find(isOpen) ?? there[0] ?? null, false);
}

// --- all cells, and those on which the readers differ ----------------------------------------------------------------

const all = new AllCells(at("all-cells"), at("all-class"), tile, () => { if (tab === "all" && !order().includes(current)) goToFirst(); });

// A cell among all: its picture where one was kept, else its class in letters.
function tile(one) {
  const own = Object.assign(document.createElement("div"), { className: "tile" });
  if (!cells.has(one.cell)) cells.set(one.cell, one);
  own.append(buttonOf(one.cell));
  if (!one.pictures) own.querySelector("img").replaceWith(Object.assign(document.createElement("span"), { className: "unseen-cell", textContent: className(one.class) }));
  dress(own.firstChild, one.cell);
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
  differing = found.cells;
  const open = differing.filter((one) => !one.settled).length;
  say("n-differing", differing.length ? `(${open})` : "");
  if (tab !== "differing") return;
  if (differing.some((one) => !cells.has(one.cell)) && !all.cells.size) await lookAtAll();
  for (const one of differing) if (!cells.has(one.cell) && all.cells.has(one.cell)) cells.set(one.cell, all.cells.get(one.cell));
  at("differing").replaceChildren(...differing.map((one) => {
    const item = document.createElement("li");
    const button = Object.assign(document.createElement("button"), { type: "button" });
    const stands = one.settled ? _("settled: %(words)s", { words: words(one.settled) }) : _("open");
    button.textContent = _("Cell %(cell)s: %(one)s says %(first)s, %(other)s says %(second)s (%(stands)s)",
      { cell: one.cell, one: one.first.reviewer, first: words(one.first), other: one.second.reviewer, second: words(one.second), stands });
    button.setAttribute("aria-current", String(one.cell === current));
    button.dataset.cell = one.cell;
    button.addEventListener("click", () => go(one.cell));
    item.append(button);
    return item;
  }));
}

for (const button of document.querySelectorAll(".tabs button")) button.addEventListener("click", () => choose(button.dataset.tab));

function drawDesk() {
  const cell = cells.get(current);
  at("shown").hidden = !cell;
  at("none").hidden = Boolean(cell);
  if (!cell) return say("none", _("No candidate yet. As soon as the session counts one, it is here."));
  const stands = standing(current);
  drawOthers(cell);
  drawView(cell, view);
  at("crop").alt = cell.pictures > 1
    ? _("Cell %(cell)s, view %(view)s of %(views)s", { cell: current, view: view + 1, views: cell.pictures })
    : _("Cell %(cell)s, its best view", { cell: current });
  say("name", _("Cell %(cell)s", { cell: current }));
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
  at("standing").hidden = !stands;
  at("standing").dataset.decision = stands?.decision ?? "";
  say("standing", stands ? `${glyph(stands)} ${words(stands)}` : "");
  for (const button of at("differing")?.querySelectorAll("button") ?? []) button.setAttribute("aria-current", String(Number(button.dataset.cell) === current));
  drawPlace(at("place"), places, cell, mosaics);
  drawHistory();
  return undefined;
}

// The other views of a cell: a touch on one makes it the large one.
function drawOthers(cell) {
  const wanted = `${cell.cell} ${view} ${cell.pictures}`;
  if (at("others").dataset.shown === wanted) return;
  at("others").dataset.shown = wanted;
  const numbers = Array.from({ length: cell.pictures }, (_, i) => i).filter((one) => one !== view);
  at("others").replaceChildren(...numbers.map((number) => {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(image(crop(cell.cell, number), 120, ""));
    button.setAttribute("aria-label", _("View %(view)s of %(views)s", { view: number + 1, views: cell.pictures }));
    button.addEventListener("click", () => { view = number; drawDesk(); });
    return button;
  }));
}

function drawHistory() {
  const lines = decisionsOn(current).map((one) => {
    const line = document.createElement("li");
    const when = one.at ? new Date(one.at).toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" }) : _("now");
    line.textContent = `${when} ${one.reviewer ?? me}: ${words(one)}`;
    return line;
  });
  at("history").replaceChildren(...lines.slice(-4));
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
  if (decisions.has(one.seq)) return;
  const before = standing(one.cell);
  keep(one);
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
    drawDesk();
    drawCounts();
    if (reader === "1" && fields.decisions.length) lookAtDiffering();
    if (!seq || fields.cells.some((one) => one.counted)) lookAround();
  }
  seq = fields.seq;
  return undefined;
}

let looking = false;
async function lookAround() {
  if (looking) return;
  looking = true;
  places = (await answer(`/review/places?${named}`))?.places ?? places; // a help, not the matter: the next look has it
  drawDesk();
  setTimeout(() => { looking = false; }, 10000);
}

at("crop").addEventListener("error", () => {
  at("crop").hidden = true;
  at("no-picture").hidden = !at("around").hidden;
});
// How the slide looked, once its session has ended.
async function lookAtSlide() {
  const found = (await answer(`/review/mosaics?${named}`))?.mosaics ?? [];
  mosaics = found.map((one) => ({ ...one, picture: Object.assign(new Image(), { src: `/review/mosaic/${encodeURIComponent(session)}/${one.island}.jpg` }) }));
  for (const one of mosaics) one.picture.addEventListener("load", drawDesk);
}
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

addEventListener("resize", drawDesk);
poll();
listen(0);
lookAtSlide();

// The live page: takes the newest events from the appliance and draws them. It asks for nothing else and keeps nothing.

import { decode, fitted } from "./canvas.js";
import { followState } from "./controls.js";
import { drawGlyph, drawLabel, drawLegend } from "./glyphs.js";
import { clearMap, drawMap, takeMap } from "./map.js";
import { _, count, decimal, ngettext } from "./words.js";

const LOST_AFTER_MS = 3500; // three beats missed
const STALE_AFTER_S = 2.5; // the camera gives 30 pictures a second
const DASH = "\u2013";
const SPEAK_EVERY_MS = 15000; // a screen reader is told the tally this often at most
const RETRY_MS = 3000;

const at = (id) => document.getElementById(id);
const say = (id, text) => { const node = at(id); if (node.textContent !== text) node.textContent = text; };
const show = (id, on) => { at(id).hidden = !on; };

let newest = null; // the last frame event
let told = null; // the frame event whose words are on the screen
let heardAt = performance.now();
let ageAtBeat = 0;
let decoding = false;
let spokenAt = -Infinity;

// --- events ---------------------------------------------------------------------------------------------------------

function connect() {
  const source = new EventSource("/events");
  source.addEventListener("frame", (message) => { heard(0); takeFrame(JSON.parse(message.data)); });
  source.addEventListener("map", async (message) => { await takeMap(JSON.parse(message.data)); drawMap(drawn?.frame.place); });
  source.addEventListener("beat", (message) => { heard(JSON.parse(message.data).age_s ?? 0); });
  source.addEventListener("error", () => {
    // A lost connection comes back by itself; a refused one (too many viewers) does not.
    if (source.readyState === EventSource.CLOSED) again();
  });
}

// Where the login has ended, the page loaded anew is the one to log in at.
async function again() {
  const answer = await fetch("/api/state").catch(() => null);
  if (answer?.status === 401) location.reload();
  else setTimeout(connect, RETRY_MS);
}

function heard(age) {
  heardAt = performance.now();
  ageAtBeat = age;
  watchLink();
}

// Only the newest picture waits for the decoder, so that a slow screen skips pictures rather than falling behind.
async function takeFrame(frame) {
  newest = frame;
  if (decoding) return;
  decoding = true;
  try {
    let taken = null;
    while (taken !== newest) {
      taken = newest;
      const bitmap = taken.picture ? await decode(taken.picture.jpeg, "image/jpeg") : null;
      drawFrame(taken, bitmap);
      bitmap?.close();
    }
  } finally {
    decoding = false;
  }
}

// --- the picture and its outlines -----------------------------------------------------------------------------------

let drawn = null; // the frame event whose picture is on the screen

function drawFrame(frame, bitmap) {
  told = frame;
  document.body.dataset.health = frame.stopped ? "fault" : frame.health.state;
  if (bitmap) {
    const picture = at("picture");
    if (picture.width !== bitmap.width || picture.height !== bitmap.height) {
      picture.width = bitmap.width;
      picture.height = bitmap.height;
    }
    picture.getContext("2d").drawImage(bitmap, 0, 0);
    drawn = frame;
    show("waiting", false);
    drawMarks();
  }
  if (!bitmap && !frame.counts) {
    drawn = null; // outlines on a picture that stays would look like a count that goes on
    drawMarks();
  }
  drawWords(frame);
  if (frame.state === "idle") clearMap();
  else drawMap(drawn?.frame.place);
  followState(frame);
  watchLink();
}

function drawMarks() {
  const { pen, width, height, ratio } = fitted(at("marks"));
  if (!drawn) return;
  const { marks, picture } = drawn;
  const scale = Math.min(width / picture.width, height / picture.height);
  const left = (width - scale * picture.width) / 2;
  const top = (height - scale * picture.height) / 2;
  const bounds = { left, top, right: width - left };
  const unit = ratio * Math.min(1, Math.max(0.55, (scale * picture.width) / ratio / 800));
  const placed = marks.map(([, role, , row, col, radius]) => [role, left + scale * col, top + scale * row, Math.max(scale * radius, 5 * unit)]);
  placed.reverse(); // the target class comes first, and is drawn last, on top
  for (const [role, x, y, radius] of placed) drawGlyph(pen, role, x, y, radius, unit);
  for (const [role, x, y, radius] of placed) drawLabel(pen, role, x, y, radius, unit, bounds);
}

// --- words and figures ----------------------------------------------------------------------------------------------

function drawWords(frame) {
  const { tally, health } = frame;
  say("session", frame.session || _("none"));
  say("session-state", frame.session ? `(${frame.state_words})` : "");
  say("specimen", frame.specimen ? _("Specimen %(specimen)s", { specimen: frame.specimen }) : "");
  say("bundle", frame.bundle.slice(0, 12)); // enough to tell bundles apart; the whole id is in the tooltip
  at("bundle").title = frame.bundle;
  show("simulated", frame.simulated);
  say("kind", frame.kind);
  show("kind", Boolean(frame.kind));
  drawBroker(frame.broker);
  drawCue(health.reasons);
  drawTally(tally, frame.state !== "idle");
  drawGoal("leukocytes", tally.leukocytes, frame.wanted.leukocytes, count, _("leukocytes"));
  drawGoal("area", tally.unique_area_mm2, frame.wanted.area_mm2, (mm2) => decimal(mm2, 2), "mm\u00b2");
  say("fps", frame.fps.toFixed(0));
  say("used", count(tally.frames_used));
  say("frames", count(tally.frames + tally.frames_dropped));
  say("rejected", notUsed(tally));
  say("area", decimal(tally.unique_area_mm2, 3));
  say("islands", tally.islands > 1 ? `, ${_("%(count)s islands not joined", { count: count(tally.islands) })}` : "");
  drawGauge(frame.gauge);
  if (frame.counts) speak(tally);
}

// Without a session there is nothing to count: a dash, for a 0 would look like a count.
function drawTally(tally, any) {
  for (const name of ["fnrbc", "leukocytes", "indeterminate", "other", "cells"]) say(name, any ? count(tally[name]) : DASH);
  say("open", any ? count(tally.cells_open) : DASH);
  const rate = tally.fnrbc_per_100_leukocytes;
  drawRate(rate);
  if (!any) say("interval", "");
  drawClaim(any ? tally.claim : null);
  say("to-go", rate ? tally.to_go : "");
  for (const name of ["fnrbc", "rate", "leukocytes", "interval", "to-go"]) say(`big-${name}`, at(name).textContent);
  // All large figures have one size, which the longest sets.
  const digits = ["fnrbc", "rate", "leukocytes"].map((name) => at(name).textContent.replace(/\D/g, "").length + 0.4);
  at("big").style.setProperty("--digits", Math.max(...digits));
}

// What the count may claim stands beside it and never in its place.
function drawClaim(claim) {
  show("claim", Boolean(claim));
  say("claim-headline", claim ? claim.headline : "");
  say("claim-figures", claim ? claim.figures : "");
  say("big-claim", claim ? claim.headline : "");
  at("claim").dataset.state = at("big-claim").dataset.state = claim ? claim.state : "";
  at("claim").title = claim ? claim.words : "";
}

// How far the session is from what was asked of it at its start.
function drawGoal(name, done, wanted, write, unit) {
  show(`goal-${name}`, wanted !== null);
  if (wanted === null) return;
  const bar = at(`goal-${name}-bar`);
  bar.max = wanted;
  bar.value = Math.min(done, wanted);
  say(`goal-${name}-words`, done >= wanted
    ? _("%(done)s of %(wanted)s %(unit)s: reached", { done: write(done), wanted: write(wanted), unit })
    : _("%(done)s of %(wanted)s %(unit)s", { done: write(done), wanted: write(wanted), unit }));
}

function drawRate(rate) {
  say("rate", rate ? decimal(rate.value, 1) : DASH);
  // The two figures share a line: the more digits, the smaller.
  at("headline").style.setProperty("--digits", at("fnrbc").textContent.length + at("rate").textContent.length);
  say("interval", rate ? _("%(low)s–%(high)s (95 %% interval)", { low: decimal(rate.low, 1), high: decimal(rate.high, 1) }) : _("no leukocyte counted yet"));
}

function drawBroker(broker) {
  if (!broker) return say("broker", _("Not published"));
  const waiting = broker.backlog ? `, ${ngettext("%(count)s message waits", "%(count)s messages wait", broker.backlog)}` : "";
  return say("broker", (broker.connected ? _("Broker connected") : _("Broker not reached")) + waiting);
}

// One thing at a time, the gravest, over the picture and in the large figures; the others wait in a list.
function drawCue(reasons) {
  const [first, ...others] = reasons;
  const cue = at("cue");
  if (cue.dataset.code !== (first?.code ?? "")) { // or a screen reader would be told at every picture
    cue.dataset.code = first?.code ?? "";
    say("cue", first?.sentence ?? "");
  }
  cue.hidden = !first;
  say("big-cue", first ? first.glance : "");
  show("more", others.length > 0);
  say("more-count", String(others.length));
  const list = at("more-list");
  if (list.dataset.codes === others.map((one) => one.code).join()) return;
  list.dataset.codes = others.map((one) => one.code).join();
  list.replaceChildren(...others.map(({ sentence }) => Object.assign(document.createElement("li"), { textContent: sentence })));
}

function notUsed(tally) {
  const parts = tally.frames_rejected.map((one) => `${count(one.frames)} ${one.words}`);
  if (tally.frames_dropped) parts.push(_("%(count)s left out to keep up with the camera", { count: count(tally.frames_dropped) }));
  return parts.length ? _("not used: %(what)s", { what: parts.join(", ") }) : "";
}

// The quantity that drives what is told.
function drawGauge(gauge) {
  at("speed").hidden = !gauge;
  if (!gauge) return;
  at("speed").classList.toggle("fast", gauge.bad);
  at("speed-fill").style.transform = `scaleX(${gauge.share})`;
  at("speed-limit").style.left = `${100 * (gauge.limit ?? 1)}%`;
  say("speed-name", gauge.name);
  say("speed-words", gauge.value);
}

function speak(tally) {
  const now = performance.now();
  if (now - spokenAt < SPEAK_EVERY_MS) return;
  spokenAt = now;
  const rate = tally.fnrbc_per_100_leukocytes;
  const per = rate ? `, ${_("%(rate)s per 100 leukocytes", { rate: decimal(rate.value, 1) })}` : "";
  const claim = tally.claim ? `. ${tally.claim.headline}` : "";
  const counts = { fnrbc: tally.fnrbc, leukocytes: tally.leukocytes, per, indeterminate: tally.indeterminate, claim };
  say("spoken", _("%(fnrbc)s fNRBC, %(leukocytes)s leukocytes%(per)s, %(indeterminate)s indeterminate%(claim)s", counts));
}

// --- the connection -------------------------------------------------------------------------------------------------

function watchLink() {
  const silentMs = performance.now() - heardAt;
  const age = Math.round(ageAtBeat + silentMs / 1000);
  const counting = told && ["running", "starting"].includes(told.state);
  let link = told ? "live" : "waiting";
  if (silentMs > LOST_AFTER_MS) link = "lost";
  else if (counting && ageAtBeat + silentMs / 1000 > STALE_AFTER_S) link = "stale";
  document.body.dataset.link = link;
  document.body.dataset.mode = modeOf(link);
  // What the appliance said of itself does not hold once it is silent.
  say("health-words", link === "lost" ? _("Not connected") : told?.pill ?? _("Starting"));
  say("big-state", at("health-words").textContent);
  if (link !== "live") show("cue", false);
  const texts = {
    lost: told ? _("Connection lost. It comes back by itself once the appliance runs.") : _("The appliance does not answer yet."),
    stale: _("No new picture. Check the camera."),
  };
  const text = texts[link] ?? "";
  show("link", Boolean(text));
  say("link", text);
  // Apart from the alert, for a screen reader would be told each second.
  show("age", Boolean(told && texts[link]));
  say("age", _("What you see is %(age)s s old", { age }));
}

// All that one glance must tell, as the frame round the whole page shows it.
function modeOf(link) {
  if (link !== "live") return link;
  if (told.stopped) return "fault";
  if (told.state !== "running") return told.state;
  if (told.health.state === "fault") return "fault";
  return told.health.reasons.length ? "trouble" : "counting";
}

document.querySelectorAll("canvas.glyph").forEach(drawLegend);
addEventListener("resize", () => {
  document.querySelectorAll("canvas.glyph").forEach(drawLegend);
  drawMarks();
  drawMap(drawn?.frame.place);
});
setInterval(watchLink, 500);
connect();

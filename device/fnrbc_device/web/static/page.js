// The live page: takes the newest events from the appliance and draws them. It asks for nothing else and keeps nothing.

import { drawGlyph, drawLabel, drawLegend } from "./glyphs.js";

const LOST_AFTER_MS = 3500; // three beats missed
const STALE_AFTER_S = 2.5; // the camera gives 30 pictures a second
const SPEAK_EVERY_MS = 15000; // a screen reader is told the tally this often at most
const RETRY_MS = 3000;

const at = (id) => document.getElementById(id);
const say = (id, text) => { const node = at(id); if (node.textContent !== text) node.textContent = text; };
const show = (id, on) => { at(id).hidden = !on; };
const count = (number) => number.toLocaleString("en-US").replaceAll(",", "\u202f");

let newest = null; // the last frame event
let map = null; // the last map event, with its picture decoded
let heardAt = performance.now();
let ageAtBeat = 0;
let decoding = false;
let spokenAt = -Infinity;

// --- events ---------------------------------------------------------------------------------------------------------

function connect() {
  const source = new EventSource("/events");
  source.addEventListener("frame", (message) => { heard(0); takeFrame(JSON.parse(message.data)); });
  source.addEventListener("map", (message) => { takeMap(JSON.parse(message.data)); });
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

async function takeMap(fields) {
  const before = map;
  map = { ...fields, bitmap: await decode(fields.png, "image/png") };
  before?.bitmap.close();
  drawMap();
}

function decode(base64, type) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], { type }));
}

// --- the picture and its outlines -----------------------------------------------------------------------------------

let drawn = null; // the frame event whose picture is on the screen

function drawFrame(frame, bitmap) {
  document.body.dataset.health = frame.health.state;
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
  drawWords(frame);
  drawMap();
  watchLink();
}

function fitted(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, width, height);
  return { pen, width, height, ratio };
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
  say("session", frame.session || "\u2013");
  say("session-state", `(${frame.state_words})`);
  say("bundle", frame.bundle.slice(0, 12)); // enough to tell bundles apart; the whole id is in the tooltip
  at("bundle").title = frame.bundle;
  show("simulated", frame.simulated);
  drawBroker(frame.broker);
  drawReasons(health.reasons);
  for (const name of ["fnrbc", "leukocytes", "indeterminate", "other", "cells"]) say(name, count(tally[name]));
  say("open", count(tally.cells_open));
  drawRate(tally.fnrbc_per_100_leukocytes);
  say("to-go", tally.fnrbc_per_100_leukocytes ? tally.to_go : "");
  say("fps", frame.fps.toFixed(0));
  say("used", count(tally.frames_used));
  say("frames", count(tally.frames));
  say("rejected", notUsed(tally));
  say("area", tally.unique_area_mm2.toFixed(3));
  say("islands", tally.islands > 1 ? `, ${tally.islands} islands not joined` : "");
  drawField(frame.frame);
  speak(tally);
}

function drawRate(rate) {
  say("rate", rate ? rate.value.toFixed(1) : "\u2013");
  // The two figures share a line: the more digits, the smaller.
  at("headline").style.setProperty("--digits", at("fnrbc").textContent.length + at("rate").textContent.length);
  say("interval", rate ? `${rate.low.toFixed(1)}\u2013${rate.high.toFixed(1)} (95 % interval)` : "no leukocyte counted yet");
}

function drawBroker(broker) {
  if (!broker) return say("broker", "Not published");
  const waiting = broker.backlog ? `, ${count(broker.backlog)} messages wait` : "";
  say("broker", broker.connected ? `Broker connected${waiting}` : `Broker not reached${waiting}`);
}

function drawReasons(reasons) {
  const box = at("reasons");
  const wanted = reasons.slice(0, 3).map((reason) => reason.sentence);
  const shown = [...box.children].map((node) => node.textContent);
  if (wanted.join("\n") === shown.join("\n")) return; // or a screen reader would be told at every picture
  box.replaceChildren(...wanted.map((sentence) => {
    const node = document.createElement("p");
    node.textContent = sentence;
    return node;
  }));
}

function notUsed(tally) {
  const parts = tally.frames_rejected.map((one) => `${count(one.frames)} ${one.words}`);
  if (tally.frames_dropped) parts.push(`${count(tally.frames_dropped)} passed over`);
  return parts.length ? `not used: ${parts.join(", ")}` : "";
}

function drawField(field) {
  show("unused", Boolean(field) && !field.used);
  if (!field) return;
  if (!field.used) say("unused", `Not counted: ${field.reason.words}. ${field.reason.cure}`);
  const limit = field.speed_limit_um_s;
  at("speed").classList.toggle("fast", field.hurried);
  at("speed-fill").style.transform = `scaleX(${limit ? Math.min(0.8 * field.speed_um_s / limit, 1) : 0})`;
  say("speed-words", `${count(Math.round(field.speed_um_s))} \u00b5m/s${field.hurried ? " too fast" : ""}`);
}

function speak(tally) {
  const now = performance.now();
  if (now - spokenAt < SPEAK_EVERY_MS) return;
  spokenAt = now;
  const rate = tally.fnrbc_per_100_leukocytes;
  const per = rate ? `, ${rate.value.toFixed(1)} per 100 leukocytes` : "";
  say("spoken", `${tally.fnrbc} fNRBC, ${tally.leukocytes} leukocytes${per}, ${tally.indeterminate} indeterminate`);
}

// --- the map --------------------------------------------------------------------------------------------------------

function drawMap() {
  const { pen, width, height, ratio } = fitted(at("map"));
  if (!map) return;
  const place = drawn?.frame.place?.island === map.island ? drawn.frame.place : null;
  const box = covering(place);
  const scale = 0.96 * Math.min(width / box.width, height / box.height);
  const x = (um) => width / 2 + (um - box.left - box.width / 2) * scale;
  const y = (um) => height / 2 + (um - box.top - box.height / 2) * scale;
  const [row, col] = map.origin_rc_um;
  pen.drawImage(map.bitmap, x(col), y(row), map.width * map.um_per_px * scale, map.height * map.um_per_px * scale);
  if (place) drawPlace(pen, x, y, scale, ratio, place);
  drawPath(pen, x, y, ratio);
  drawScaleBar(pen, height, scale, ratio);
}

// What the map must show, um: the picture of a second ago, and the field now, which may lie beyond it.
function covering(place) {
  let [top, left] = map.origin_rc_um;
  let [bottom, right] = [top + map.height * map.um_per_px, left + map.width * map.um_per_px];
  if (place) {
    const [row, col] = place.corner_rc_um;
    [top, left] = [Math.min(top, row), Math.min(left, col)];
    [bottom, right] = [Math.max(bottom, row + place.size_rc_um[0]), Math.max(right, col + place.size_rc_um[1])];
  }
  return { top, left, width: right - left, height: bottom - top };
}

function drawPath(pen, x, y, ratio) {
  for (const [colour, width] of [["#ffffff", 3], ["#00508a", 1.5]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = width * ratio;
    pen.lineJoin = "round";
    pen.beginPath();
    for (const [row, col] of map.path_rc_um) pen.lineTo(x(col), y(row));
    pen.stroke();
  }
}

function drawPlace(pen, x, y, scale, ratio, place) {
  const [row, col] = place.corner_rc_um;
  const [height, width] = place.size_rc_um;
  // The map is up to a second old: what is in view now may not be on it yet.
  pen.drawImage(at("picture"), x(col), y(row), width * scale, height * scale);
  for (const [colour, wide] of [["#ffffff", 5], ["#b5380b", 3]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = wide * ratio;
    pen.strokeRect(x(col), y(row), width * scale, height * scale);
  }
}

function drawScaleBar(pen, height, scale, ratio) {
  const aim = (70 * ratio) / scale;
  const power = 10 ** Math.floor(Math.log10(aim));
  const um = power * [5, 2, 1].find((step) => step * power <= aim);
  const text = um >= 1000 ? `${um / 1000} mm` : `${um} \u00b5m`;
  pen.font = `600 ${12 * ratio}px system-ui, "DejaVu Sans", sans-serif`;
  const long = um * scale;
  pen.fillStyle = "rgb(17 22 27 / 85%)";
  pen.fillRect(6 * ratio, height - 28 * ratio, Math.max(long, pen.measureText(text).width) + 12 * ratio, 22 * ratio);
  pen.fillStyle = "#ffffff";
  pen.fillText(text, 12 * ratio, height - 15 * ratio);
  pen.fillRect(12 * ratio, height - 11 * ratio, long, 2.5 * ratio);
}

// --- the connection -------------------------------------------------------------------------------------------------

function watchLink() {
  const silentMs = performance.now() - heardAt;
  const age = Math.round(ageAtBeat + silentMs / 1000);
  const counting = newest && ["running", "starting"].includes(newest.state);
  let link = newest ? "live" : "waiting";
  if (silentMs > LOST_AFTER_MS) link = "lost";
  else if (counting && ageAtBeat + silentMs / 1000 > STALE_AFTER_S) link = "stale";
  document.body.dataset.link = link;
  // What the appliance said of itself does not hold once it is silent.
  say("health-words", link === "lost" ? "Not connected" : newest?.health.words ?? "Starting");
  show("reasons", link !== "lost");
  const texts = {
    lost: newest ? "Connection lost. It comes back by itself once the appliance runs." : "The appliance does not answer yet.",
    stale: "No new picture. Check the camera.",
  };
  const text = texts[link] ?? (newest?.state === "finished" ? "Session finished. The counts stand still." : "");
  show("link", Boolean(text));
  say("link", text);
  // Apart from the alert, for a screen reader would be told each second.
  show("age", Boolean(newest && texts[link]));
  say("age", `What you see is ${age} s old`);
}

document.querySelectorAll("canvas.glyph").forEach(drawLegend);
addEventListener("resize", () => {
  document.querySelectorAll("canvas.glyph").forEach(drawLegend);
  drawMarks();
  drawMap();
});
setInterval(watchLink, 500);
connect();

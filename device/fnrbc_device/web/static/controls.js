// What a person may do on the live page: by button, by touch, and by the key that each button shows.

import { _ } from "./words.js";

const KEYS_OFF = "fnrbc.keys-off"; // a person who speaks to the computer switches single keys off
const ANSWER_STAYS_MS = 6000;

const at = (id) => document.getElementById(id);
const token = document.querySelector('meta[name="token"]').content;
const byState = [...document.querySelectorAll("[data-states]")];

let asked = false; // a command is under way

// Shows what fits the session's state. A hidden button that had the focus hands it to the one in its place.
export function followState(frame) {
  const held = byState.find((node) => node === document.activeElement);
  for (const node of byState) node.hidden = !node.dataset.states.split(" ").includes(frame.state);
  if (held?.hidden) byState.find((node) => !node.hidden && node.matches("button"))?.focus();
  if (at("review")) at("review").href = `/review?session=${encodeURIComponent(frame.session)}`;
}

async function ask(verb) {
  if (asked) return;
  asked = true;
  try {
    const answer = await fetch(`/api/session/${verb}`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-fnrbc-token": token },
      body: JSON.stringify({ note: "" }),
      signal: AbortSignal.timeout(10000),
    });
    const words = {
      start: _("Started"), pause: _("Paused"), resume: _("Goes on"), stop: _("Ended"),
      mark: _("This place is marked in the record"),
    };
    tell(answer.ok ? words[verb] : sentence(await answer.text()), answer.ok);
  } catch {
    tell(_("The appliance did not answer: nothing was done, try again"), false);
  } finally {
    asked = false;
  }
}

// A refusal is one sentence, bare or as the only text of an object.
function sentence(text) {
  try {
    const found = Object.values(JSON.parse(text)).find((one) => typeof one === "string" && one.includes(" "));
    return found ?? text;
  } catch {
    return text;
  }
}

let toldAt = 0;

function tell(words, good) {
  const node = at("answer");
  node.textContent = words;
  node.classList.toggle("bad", !good);
  toldAt = performance.now();
  setTimeout(() => { if (performance.now() - toldAt >= ANSWER_STAYS_MS) node.textContent = ""; }, ANSWER_STAYS_MS + 50);
}

// --- the counts in large figures --------------------------------------------------------------------------------------

function showBig(on) {
  at("big").hidden = !on;
  document.querySelector("main").inert = on;
  document.querySelector("header").inert = on;
  if (on) {
    document.documentElement.requestFullscreen?.().catch(() => {}); // without it the figures fill the window
    at("close-big").focus();
  } else {
    if (document.fullscreenElement) document.exitFullscreen();
    at("open-big").focus();
  }
}

addEventListener("fullscreenchange", () => { if (!document.fullscreenElement && !at("big").hidden) showBig(false); });

// --- buttons and keys -------------------------------------------------------------------------------------------------

for (const button of document.querySelectorAll("button[data-verb]")) {
  button.addEventListener("click", () => {
    button.closest("dialog")?.close();
    ask(button.dataset.verb);
  });
}
for (const button of document.querySelectorAll("button[data-opens]")) {
  button.addEventListener("click", () => at(button.dataset.opens).showModal());
}
for (const button of document.querySelectorAll("button[data-closes]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
at("open-big").addEventListener("click", () => showBig(true));
at("big").addEventListener("click", () => showBig(false)); // a finger need not aim

at("keys-off").checked = localStorage.getItem(KEYS_OFF) === "yes";
at("keys-off").addEventListener("change", (event) => localStorage.setItem(KEYS_OFF, event.target.checked ? "yes" : "no"));

addEventListener("keydown", (event) => {
  if (!at("big").hidden && ["escape", "b"].includes(event.key.toLowerCase()) && !event.repeat) {
    event.preventDefault();
    return showBig(false);
  }
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || at("keys-off").checked) return;
  if (event.target.closest("input, textarea, select, dialog[open]")) return; // a closed one keeps the focus till it is drawn
  const key = event.key.toLowerCase();
  const wanted = [...document.querySelectorAll("[data-key]")].find((node) => node.dataset.key === key && node.checkVisibility());
  if (!wanted) return;
  event.preventDefault();
  wanted.click();
});

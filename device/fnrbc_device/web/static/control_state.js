// How the laboratory's control stands: said on the live page for as long as a count could not rest on it.

import { _ } from "./words.js";

const ASK_EVERY_MS = 30_000;
const box = document.getElementById("control");

async function ask() {
  try {
    const answer = await fetch("/api/control");
    if (answer.ok) tell(await answer.json());
  } catch {
    // the page itself says that the appliance does not answer
  }
}

function tell(control) {
  const said = control.needs_reason || control.state === "warning";
  box.hidden = !said;
  box.dataset.state = control.state;
  box.replaceChildren();
  if (!said) return;
  const words = control.words[0].toUpperCase() + control.words.slice(1);
  const link = document.createElement("a");
  link.href = "/quality";
  link.textContent = _("Quality control");
  box.append(`${words}. `, link);
}

ask();
setInterval(ask, ASK_EVERY_MS);

// What the review page says and where: words of decisions, counts and notices.

import { _, decimal } from "./words.js";

const NOTICES = 3;
const NOTICE_MS = 20000;

export const at = (id) => document.getElementById(id);
export const say = (id, text) => { const node = at(id); if (node.textContent !== text) node.textContent = text; };
export const { session, reader, target, me } = at("desk").dataset;
export const classes = at("desk").dataset.classes.split("\n").filter((name) => name !== target);
export const threshold = Number(at("desk").dataset.threshold);

export function words(one) {
  return { confirmed: "fNRBC", rejected: _("no cell"), undone: _("taken back") }[one.decision] ?? className(one.class);
}

// A class as people call it; one that only the bundle knows keeps its name.
export function className(name) {
  return { leukocyte: _("leukocyte"), other: _("other"), indeterminate: _("indeterminate") }[name] ?? name;
}

export function glyph(one) {
  return { confirmed: "\u2713", rejected: "\u2715" }[one.decision] ?? String(classes.indexOf(one.class) + 1);
}

// The counts are the record's own, not this page's.
export function drawTally(tally, machine, agreement) {
  say("verified", String(tally.fnrbc));
  say("split", _("%(confirmed)s confirmed, %(rejected)s rejected, %(reclassified)s of another class", tally));
  const rate = tally.fnrbc_per_100_leukocytes;
  say("ratio-verified", rate
    ? _("%(rate)s per 100 leukocytes (%(low)s–%(high)s), %(leukocytes_by_machine)s of %(leukocytes)s leukocytes by machine",
      { ...tally, rate: decimal(rate.value, 1), low: decimal(rate.low, 1), high: decimal(rate.high, 1) })
    : _("no ratio before all are decided on: %(open)s open", { open: tally.candidates - tally.reviewed }));
  say("claim-verified", tally.claim);
  say("machine", String(machine.fnrbc));
  say("machine-split", _("%(indeterminate)s indeterminate, %(leukocytes)s leukocytes", machine));
  at("kappa").hidden = !agreement;
  if (!agreement) return;
  const kappa = agreement.kappa === null ? _("kappa not defined: all answers are alike") : `kappa ${decimal(agreement.kappa, 2)}`;
  say("kappa", _("Two readers agree on %(agreed)s of %(cells)s: %(kappa)s", { ...agreement, kappa }));
}

export function notice(sentence) {
  if (at("notices").lastChild?.textContent === sentence) return;
  const node = Object.assign(document.createElement("p"), { className: "notice", textContent: sentence });
  at("notices").append(node);
  while (at("notices").children.length > NOTICES) at("notices").firstChild.remove();
  setTimeout(() => node.remove(), NOTICE_MS);
}

// What the appliance says, or null where it does not answer now.
export async function answer(address, timeoutMs = 5000) {
  try {
    const response = await fetch(address, { signal: AbortSignal.timeout(timeoutMs) });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

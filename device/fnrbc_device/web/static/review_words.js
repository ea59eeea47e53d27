// What the review page says and where: words of decisions, counts and notices.

const NOTICES = 3;
const NOTICE_MS = 20000;

export const at = (id) => document.getElementById(id);
export const say = (id, text) => { const node = at(id); if (node.textContent !== text) node.textContent = text; };
export const { session, reader, target, me } = at("desk").dataset;
export const classes = at("desk").dataset.classes.split("\n").filter((name) => name !== target);
export const threshold = Number(at("desk").dataset.threshold);

export function words(one) {
  return { confirmed: "fNRBC", rejected: "no cell", undone: "taken back" }[one.decision] ?? one.class;
}

export function glyph(one) {
  return { confirmed: "\u2713", rejected: "\u2715" }[one.decision] ?? String(classes.indexOf(one.class) + 1);
}

// The counts are the record's own, not this page's.
export function drawTally(tally, machine, agreement) {
  say("verified", String(tally.fnrbc));
  say("split", `${tally.confirmed} confirmed, ${tally.rejected} rejected, ${tally.reclassified} of another class`);
  const rate = tally.fnrbc_per_100_leukocytes;
  say("ratio-verified", rate
    ? `${rate.value.toFixed(1)} per 100 leukocytes (${rate.low.toFixed(1)}\u2013${rate.high.toFixed(1)}), ${tally.leukocytes_by_machine} of ${tally.leukocytes} leukocytes by machine`
    : `no ratio before all are decided on: ${tally.candidates - tally.reviewed} open`);
  say("claim-verified", tally.claim);
  say("machine", String(machine.fnrbc));
  say("machine-split", `${machine.indeterminate} indeterminate, ${machine.leukocytes} leukocytes`);
  at("kappa").hidden = !agreement;
  if (!agreement) return;
  const kappa = agreement.kappa === null ? "kappa not defined: all answers are alike" : `kappa ${agreement.kappa.toFixed(2)}`;
  say("kappa", `Two readers agree on ${agreement.agreed} of ${agreement.cells}: ${kappa}`);
}

export function notice(sentence) {
  if (at("notices").lastChild?.textContent === sentence) return;
  const node = Object.assign(document.createElement("p"), { className: "notice", textContent: sentence });
  at("notices").append(node);
  while (at("notices").children.length > NOTICES) at("notices").firstChild.remove();
  setTimeout(() => node.remove(), NOTICE_MS);
}

// What the appliance says, or null where it does not answer now.
export async function answer(address) {
  try {
    const response = await fetch(address, { signal: AbortSignal.timeout(5000) });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

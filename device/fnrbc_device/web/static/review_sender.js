// Sends decisions one after the other, and keeps those that were not taken down yet, also over a closed page.

import { _ } from "./words.js";

const RETRY_MS = 1000;
const LATE_MS = 2500; // a decision takes a few ms; what is this late is said

const RENEWED = [401, 403]; // the login or the page's token is of yesterday
const BUSY = [408, 429];

let token = document.querySelector('meta[name="token"]').content;

// A token lasts as long as the appliance runs; a person with a login of their own gets the new one with the page.
async function renewToken() {
  const page = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
  token = page.querySelector('meta[name="token"]')?.content ?? token;
}

export class Sender {
  // taken(ask, answer) and refused(ask, sentence) hear how each went; changed() that what waits did.
  constructor(name, taken, refused, changed) {
    Object.assign(this, { name, taken, refused, changed });
    this.waiting = JSON.parse(localStorage.getItem(name) ?? "[]");
    this.seqs = new Map(); // seq by request
    this.ours = new Set(this.waiting.map((ask) => ask.request));
    this.sending = false;
    this.since = performance.now();
    if (this.waiting.length) this.send();
    setInterval(() => this.changed(), 1000);
  }

  get late() {
    return this.waiting.length > 0 && performance.now() - this.since > LATE_MS;
  }

  ask(fields) {
    const request = crypto.randomUUID();
    if (!this.waiting.length) this.since = performance.now();
    this.waiting.push({ ...fields, request });
    this.ours.add(request);
    this.save();
    this.send();
    return request;
  }

  // What is taken back may still be on its way: then its own request stands for its seq.
  takeBack(fields, key) {
    return this.ask(typeof key === "string" ? { ...fields, of: key } : { ...fields, undoes: key });
  }

  seqOf(request) {
    return this.seqs.get(request);
  }

  undoes(ask) {
    return ask.of ? this.seqs.get(ask.of) ?? ask.of : ask.undoes;
  }

  isOurs(request) {
    return this.ours.has(request);
  }

  save() {
    if (this.waiting.length) localStorage.setItem(this.name, JSON.stringify(this.waiting));
    else localStorage.removeItem(this.name);
    this.changed();
  }

  async send() {
    if (this.sending) return;
    this.sending = true;
    while (this.waiting.length) {
      const ask = this.waiting[0];
      const outcome = await this.post(ask);
      if (outcome === null) {
        await new Promise((done) => { setTimeout(done, RETRY_MS); });
        continue;
      }
      this.waiting.shift();
      this.since = performance.now();
      if (outcome.seq) this.seqs.set(ask.request, outcome.seq);
      this.save();
      if (outcome.seq) this.taken({ ...ask, undoes: this.undoes(ask) }, outcome);
      else this.refused(ask, outcome.refusal);
    }
    this.sending = false;
  }

  // The answer, a refusal in words, or null where nobody could answer now.
  async post(ask) {
    const { of, ...fields } = ask;
    const undoes = this.undoes(ask);
    if (typeof undoes === "string") return { refusal: _("What it takes back was not taken down.") };
    try {
      const response = await fetch("/review/decisions", {
        method: "POST",
        headers: { "content-type": "application/json", "x-fnrbc-token": token },
        body: JSON.stringify(undoes ? { ...fields, undoes } : fields),
        signal: AbortSignal.timeout(5000),
      });
      if (response.ok) return await response.json();
      if (RENEWED.includes(response.status)) await renewToken();
      const later = response.status >= 500 || [...BUSY, ...RENEWED].includes(response.status);
      return later ? null : { refusal: await response.text() };
    } catch {
      return null;
    }
  }
}

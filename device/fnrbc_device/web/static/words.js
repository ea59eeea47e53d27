// What the scripts say, in the language of the page: its words come with the page, from the same catalogue as the page's.

export const language = document.documentElement.lang || "en";
const words = JSON.parse(document.getElementById("words")?.textContent ?? "{}");

const laid = (text, values) => text.replace(/%%|%\((\w+)\)s/g, (whole, name) => (name ? String(values[name]) : "%"));

// Says a message; one that the catalogue lacks is said in English.
export const _ = (message, values = {}) => laid(words[message] ?? message, values);

// Says a message in the form that the language has for a number, which stands in it as %(count)s.
export function ngettext(one, several, n, values = {}) {
  const forms = words[one] ?? [one, several];
  const names = ["zero", "one", "two", "few", "many", "other"];
  const rules = new Intl.PluralRules(words[one] ? language : "en");
  const used = names.filter((name) => rules.resolvedOptions().pluralCategories.includes(name));
  const form = forms[Math.min(used.indexOf(rules.select(n)), forms.length - 1)];
  return laid(form, { count: count(n), ...values });
}

// A count with thin spaces between thousands, as on the rest of the page.
export const count = (n) => n.toLocaleString("en-US").replaceAll(",", "\u202f");

// A figure with the decimal sign of the language.
export const decimal = (value, places) =>
  value.toLocaleString(language, { minimumFractionDigits: places, maximumFractionDigits: places, useGrouping: false });

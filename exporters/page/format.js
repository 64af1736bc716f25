"use strict";
/* Numbers, and pieces of the page. Names are user text: they reach the page as text only, never as markup. */

const SI = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];
const UNKNOWN = "–", JOULES_PER_KWH = 3.6e6;
const SVG = "http://www.w3.org/2000/svg";
const $ = id => document.getElementById(id);
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const total = list => list.reduce((a, b) => a + b, 0);
const isKnown = value => value !== null && value !== undefined && Number.isFinite(value);

/* Never "-0": a difference that rounds to nothing has no sign. */
const fixed = (value, digits) => value.toFixed(digits).replace(/^-(0(\.0*)?)$/, "$1");

function quantity(value, unit) {
  if (!isKnown(value)) return UNKNOWN;
  const [factor, prefix] = SI.find(([f]) => Math.abs(value) >= f * 0.9995) || [1, ""];
  const scaled = value / factor;
  return `${fixed(scaled, Math.abs(scaled) >= 100 ? 0 : Math.abs(scaled) >= 10 ? 1 : 2)} ${prefix}${unit}`;
}

/* Both in the unit of the value: 741 ± 60 W. */
function withDoubt(value, sigma, unit) {
  if (!isKnown(value) || !isKnown(sigma)) return quantity(value, unit);
  const [text, named] = quantity(value, unit).split(" "), [factor] = SI.find(([, prefix]) => prefix + unit === named);
  return `${text} ± ${fixed(2 * sigma / factor, text.split(".")[1]?.length ?? 0)} ${named}`;
}

function wattHours(joules) {
  if (!isKnown(joules)) return UNKNOWN;
  return joules !== 0 && Math.abs(joules) < 360 ? quantity(joules / 3.6, "mWh") : quantity(joules / 3600, "Wh");
}
/* ± is twice the standard deviation, as in the commands: about 95 of 100 lie within. */
const doubt = sigma => isKnown(sigma) && sigma > 0 ? `± ${wattHours(2 * sigma)}` : "";
/* Energy of one token, step or request: 0.531 J ± 0.042 output_tokens. Of several units, tokens say the most. */
function perUnit(one) {
  if (!isKnown(one?.joules_per_unit)) return UNKNOWN;
  const digits = Math.max(0, Math.min(9, 2 - Math.floor(Math.log10(one.joules_per_unit || 1))));
  return `${fixed(one.joules_per_unit, digits)} J${one.sigma_j > 0 ? ` ± ${fixed(2 * one.sigma_j, digits)}` : ""}`;
}
const mainWork = work => (work ?? []).find(one => one.unit === "output_tokens" && one.count) ?? (work ?? []).find(one => one.count) ?? null;
const workText = work => (work ?? []).map(one => `${one.count.toLocaleString("en")} ${one.unit}${one.count ? `, ${perUnit(one)} each` : ""}`).join("; ");
const percent = (value, digits = 1) => isKnown(value) ? `${fixed(value * 100, digits)} %` : UNKNOWN;
const hours = s => !isKnown(s) ? UNKNOWN : s >= 3600 ? `${(s / 3600).toFixed(2)} h` : s >= 60 ? `${(s / 60).toFixed(1)} min` : `${s.toFixed(0)} s`;
const clock = s => new Date(s * 1000).toLocaleTimeString([], { hour12: false });
const count = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

/* What energy costs and emits, as far as somebody configured it; nothing is assumed. */
function worth(joules, prices) {
  if (!prices || !isKnown(joules)) return [];
  const kwh = joules / JOULES_PER_KWH, told = [];
  if (prices.per_kwh !== null) told.push(money(joules, prices));
  if (prices.carbon_g_per_kwh !== null) told.push(`${quantity(kwh * prices.carbon_g_per_kwh, "g")} CO₂e`);
  return told;
}

function money(joules, prices) {
  const amount = joules / JOULES_PER_KWH * prices.per_kwh;
  if (amount > 0 && amount < 0.0001) return `< 0.0001 ${prices.currency}`.trim();
  return `${amount.toFixed(amount >= 0.1 || amount === 0 ? 2 : 4)} ${prices.currency}`.trim();
}

/* Both ends of an id tell which one it is; its middle does not. The whole is in the title. */
function shortened(text, most = 28) {
  const letters = [...text];
  return letters.length <= most ? text : `${letters.slice(0, most / 2).join("")}…${letters.slice(1 - most / 2).join("")}`;
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function shape(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/* Two lines of one cell: what is meant, and below it what else it is. Between the parts of the second it may be broken. */
const lines = (first, second, title = "") => make("span", title ? { title } : {}, first,
  make("small", {}, ...[second].flat().flatMap((part, i) => [i ? " " : "", make("span", {}, part)])));

/* A column of it, where jobs did any work; in a card there is no room for all of it in a line. */
const perUnitColumn = { title: "Per unit", help: "energy of one unit of work", kind: "n", value: job => mainWork(job.work)?.joules_per_unit ?? null, cell: job => {
  const one = mainWork(job.work), [each, around] = perUnit(one).split(" ± ");
  return one ? lines(each, [...(around ? [`± ${around}`] : []), one.unit]) : "";
} };

const tile = (title, value, small) => make("div", { class: "tile" }, make("h2", {}, title), make("p", {}, value, make("small", {}, small)));

function meter(parts, text) {
  const svg = shape("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
  let x = 0;
  for (const [share, color] of parts) {
    svg.append(shape("rect", { x, y: 0, width: Math.max(0, Math.min(100 - x, share * 100)), height: 10, fill: css(color) }));
    x += share * 100;
  }
  return make("div", { class: "meter" }, svg, text);
}

/* A line a GPU or a job, too small for an axis: its top is what the title says. Unknown is a break. */
function sparkline(values, top, title, color = "--accent") {
  const svg = shape("svg", { class: "spark", viewBox: "0 0 100 20", preserveAspectRatio: "none", role: "img", "aria-label": title });
  const at = i => values.length > 1 ? i / (values.length - 1) * 100 : 100;
  let path = "", pen = false;
  values.forEach((value, i) => {
    if (!isKnown(value)) { pen = false; return; }
    path += `${pen ? "L" : "M"}${at(i).toFixed(2)} ${(19 - Math.min(1, value / top) * 18).toFixed(2)}`;
    pen = true;
  });
  if (path) svg.append(shape("path", { d: path, fill: "none", stroke: css(color), "stroke-width": 1.5, "vector-effect": "non-scaling-stroke" }));
  svg.append(shape("title", {}));
  svg.lastChild.textContent = title;
  return svg;
}

"use strict";
/* A chart of power over time: steps, or a stack of them, with its limit, a legend of buttons, a box that tells the values
   under the pointer without moving anything, and arrow keys that read them aloud. */

/* Times on the axis: the day stands where it begins. */
const dated = format => [format, "\n{MMM} {D} {YYYY}", null, "\n{MMM} {D}", null, null, null, 1];
const TICKS = [[86400, "{MMM} {D}", "\n{YYYY}", null, null, null, null, null, 1], [3600, ...dated("{HH}:{mm}")], [60, ...dated("{HH}:{mm}")], [1, ...dated("{HH}:{mm}:{ss}")]];
const TOLD = 12; /* values that the box under the pointer tells one by one */
const NEAR_LIMIT = 4; /* a limit beyond so many times what is drawn would press it flat: it is told in words */

/* Each value lasts from its step's begin to its end; between two steps that do not meet nothing is known. */
function staircase(from, to, columns) {
  const time = [], values = columns.map(() => []);
  const push = (t, of) => { time.push(t); values.forEach((list, k) => list.push(of(k))); };
  from.forEach((begin, i) => {
    push(begin, k => columns[k][i]);
    const next = from[i + 1];
    if (columns.every(values => !isKnown(values[i]))) return;
    const meets = next !== undefined && next <= to[i] + 0.5;
    if (meets && columns.every(values => !isKnown(values[i]) || isKnown(values[i + 1]))) return;
    push(next === undefined ? to[i] : to[i] - (to[i] - begin) / 1000, k => columns[k][i]);
    if (next !== undefined && !meets) push(to[i], () => null);
  });
  return { time, values };
}

class Chart {
  constructor(root, title, { stacked }) {
    this.root = root; this.title = title; this.stacked = stacked;
    this.hidden = new Set(); this.plot = null; this.key = ""; this.series = []; this.time = []; this.scale = {}; this.limit = null; this.top = 0; this.focused = null;
    this.frame = make("div", { class: "plot", tabindex: "0", role: "img", "aria-label": title });
    this.live = make("p", { class: "unseen", "aria-live": "polite" });
    this.tip = make("div", { class: "tip", "aria-hidden": "true", hidden: "" });
    this.legend = make("ul", { class: "legend", "aria-label": `Lines of: ${title}` });
    this.empty = make("p", { class: "empty" });
    root.append(this.frame, this.empty, this.live, this.legend);
    this.frame.append(this.tip);
    this.frame.addEventListener("keydown", event => this.walk(event));
    this.frame.addEventListener("blur", () => this.read(null));
    this.frame.addEventListener("pointerleave", () => this.read(null));
    new ResizeObserver(() => this.plot && this.plot.setSize(this.size())).observe(root);
  }

  size() { return { width: Math.max(200, this.root.clientWidth), height: window.innerWidth < 640 ? 200 : 260 }; }

  /* What stands there as long as there is nothing to draw. */
  wait(text) { if (this.empty.textContent !== text) this.empty.textContent = text; }

  /* series: [{key, label, color, values}] from the bottom of the stack up; limit: {label, watts}, or null; top: watts that
     the axis holds at least, as long as no line is hidden */
  show(time, series, scale = {}) {
    const { limit = null, top: least = 0 } = scale;
    this.time = time; this.series = series; this.scale = scale; this.limit = limit;
    this.empty.hidden = time.length > 1;
    this.frame.hidden = time.length <= 1;
    if (time.length <= 1) return;
    const shown = series.filter(s => !this.hidden.has(s.key));
    const drawn = this.stacked ? this.stack(shown) : shown.map(s => s.values);
    const top = Math.max(1, this.hidden.size ? 0 : least, ...drawn.map(values => values.reduce((most, v) => Math.max(most, v ?? 0), 0)));
    const near = limit !== null && limit.watts <= NEAR_LIMIT * top;
    this.top = Math.max(top, near ? limit.watts : 0);
    const data = [time, ...drawn, ...(near ? [time.map(() => limit.watts)] : [])];
    const key = JSON.stringify([series.map(s => [s.key, s.label, s.color]), [...this.hidden], near, this.focused, css("--grid")]);
    const last = s => s.values.findLast(v => v !== null) ?? 0;
    this.frame.setAttribute("aria-label", `${this.title}: ${quantity(total(series.map(last)), "W")} at the end, ${count(series.length, "line")}`
      + `${limit ? `, ${limit.label} ${quantity(limit.watts, "W")}` : ""}. Arrow keys read the values.`);
    if (key === this.key && this.plot) { this.plot.setData(data); return; }
    this.key = key;
    if (this.plot) this.plot.destroy();
    this.plot = new uPlot(this.options(this.stacked ? [...shown].reverse() : shown, near), data, this.frame);
    this.drawLegend(near);
  }

  /* Sums from the bottom up, the highest first, so that lower ones are painted over it; nothing where none is known. */
  stack(shown) {
    const sum = this.time.map((_, i) => shown.some(s => s.values[i] !== null) ? 0 : null);
    return shown.map(s => s.values.map((v, i) => sum[i] === null ? null : (sum[i] += v || 0))).reverse();
  }

  options(shown, near) {
    const axis = { stroke: css("--soft"), grid: { stroke: css("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const paths = uPlot.paths.stepped({ align: 1 }), faint = s => this.focused !== null && this.focused !== s.key;
    const color = s => faint(s) ? blend(s.color, css("--card"), 0.75) : s.color;
    const limit = { label: "limit", stroke: css("--bad"), width: 1.5, dash: [7, 5], points: { show: false } };
    return {
      ...this.size(),
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { show: false }, y: false },
      scales: { y: { range: () => [0, Math.max(10, this.top * 1.08)] } },
      axes: [
        { ...axis, values: TICKS, space: 70, size: 42 },
        { ...axis, size: 62, values: (_, ticks) => ticks.map(tick) },
      ],
      series: [{}, ...shown.map(s => ({
        label: s.label, stroke: this.stacked ? css("--card") : color(s), width: this.stacked ? 0.75 : 1.75, paths,
        fill: this.stacked ? color(s) : `${color(s)}22`, points: { show: false }, spanGaps: false,
      })), ...(near ? [limit] : [])],
      hooks: { setCursor: [plot => this.read(plot.cursor.idx)] },
    };
  }

  /* The box lies over the chart, on the side where the pointer is not. */
  read(i) {
    const shown = this.series.filter(s => !this.hidden.has(s.key) && isKnown(s.values[i ?? -1]));
    this.tip.hidden = i === null || i === undefined || this.time[i] === undefined;
    if (this.tip.hidden) { this.live.textContent = ""; return; }
    const when = new Date(this.time[i] * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "medium", hour12: false });
    const all = total(shown.map(s => s.values[i])), told = [...shown].reverse().slice(0, TOLD);
    const row = (name, watts, color = "") => {
      const dot = make("i");
      if (color) dot.style.background = color;
      return make("li", {}, dot, make("span", {}, name), make("b", {}, quantity(watts, "W")));
    };
    this.tip.replaceChildren(make("p", {}, when), make("ul", {}, ...(shown.length > 1 ? [row("all", all)] : []), ...told.map(s => row(s.label, s.values[i], s.color))),
      ...(shown.length > TOLD ? [make("p", {}, `and ${shown.length - TOLD} more`)] : shown.length ? [] : [make("p", {}, "unknown: nobody measured")]));
    this.tip.classList.toggle("left", this.plot.cursor.left > this.plot.bbox.width / devicePixelRatio / 2);
    if (document.activeElement === this.frame) this.live.textContent = `${when}  ${shown.map(s => `${s.label} ${quantity(s.values[i], "W")}`).join(" · ") || "unknown"}`;
  }

  walk(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") this.read(null);
    if (!(event.key in steps) || !this.plot) return;
    event.preventDefault();
    const from = this.plot.cursor.idx ?? this.time.length - 1;
    const to = Math.min(this.time.length - 1, Math.max(0, from + steps[event.key]));
    this.plot.setCursor({ left: this.plot.valToPos(this.time[to], "x"), top: 10 });
  }

  /* A legend's entry under the pointer or the keyboard's focus shows its line alone in full colour. */
  focus(key) {
    if (this.focused === key) return;
    this.focused = key;
    this.plot?.series.forEach((line, i) => {
      const s = this.series.find(one => one.label === line.label);
      if (!i || !s) return;
      const color = key !== null && key !== s.key ? blend(s.color, css("--card"), 0.75) : s.color;
      if (this.stacked) line.fill = () => color;
      else { line.stroke = () => color; line.fill = () => `${color}22`; }
    });
    this.plot?.redraw(false);
  }

  drawLegend(near) {
    const focused = document.activeElement?.dataset?.key;
    const entries = this.series.map(s => {
      const dot = make("i");
      dot.style.background = s.color;
      const button = make("button", { type: "button", "aria-pressed": String(!this.hidden.has(s.key)), title: s.label }, dot, make("span", {}, shortened(s.label)));
      button.dataset.key = s.key;
      button.addEventListener("click", () => {
        if (!this.hidden.delete(s.key)) this.hidden.add(s.key);
        this.key = "";
        this.show(this.time, this.series, this.scale);
      });
      for (const [name, key] of [["pointerenter", s.key], ["focus", s.key], ["pointerleave", null], ["blur", null]]) button.addEventListener(name, () => this.focus(key));
      return make("li", {}, button);
    });
    if (this.limit) entries.push(make("li", { class: "limit" }, make("i"), `${this.limit.label} ${quantity(this.limit.watts, "W")}${near ? "" : ", far above"}`));
    this.legend.replaceChildren(...entries);
    if (focused) [...this.legend.querySelectorAll("button")].find(b => b.dataset.key === focused)?.focus();
  }
}

/* A round number of watts: 2.5 kW, and not 2.50. */
function tick(watts) {
  const [factor, prefix] = SI.find(([f]) => watts >= f) || [1, ""];
  return `${Number((watts / factor).toFixed(3))} ${prefix}W`;
}

/* Mixes two colours written as #rrggbb. */
function blend(color, other, share) {
  const parts = text => (text.length === 4 ? [1, 2, 3].map(i => text[i] + text[i]) : [1, 3, 5].map(i => text.slice(i, i + 2))).map(hex => parseInt(hex, 16));
  const from = parts(color), to = parts(other);
  return `#${from.map((v, i) => Math.round(v + (to[i] - v) * share).toString(16).padStart(2, "0")).join("")}`;
}

/* Eight colours; the next eight are the same, lighter, and so on. */
const colourOf = i => i < 8 ? css(`--c${i}`) : blend(css(`--c${i % 8}`), css("--card"), Math.min(0.7, 0.35 * Math.floor(i / 8)));

"use strict";
/* A chart of power over time: lines, steps or a stack, a legend of buttons, a readout, and arrow keys. */

const SI = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];

function quantity(value, unit) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const [factor, prefix] = SI.find(([f]) => Math.abs(value) >= f * 0.9995) || [1, ""];
  const scaled = value / factor;
  const digits = factor === 1 && Math.abs(scaled) >= 100 ? 0 : Math.abs(scaled) >= 100 ? 0 : Math.abs(scaled) >= 10 ? 1 : 2;
  return `${scaled.toFixed(digits)} ${prefix}${unit}`;
}

const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/* Times on the axis: within an hour, and of jobs that may last for months (the day stands where it begins). */
const SHORT = [[3600, "{HH}:{mm}"], [60, "{HH}:{mm}"], [1, "{HH}:{mm}:{ss}"]];
const dated = format => [format, "\n{MMM} {D} {YYYY}", null, "\n{MMM} {D}", null, null, null, 1];
const LONG = [[86400, "{MMM} {D}", "\n{YYYY}", null, null, null, null, null, 1], [3600, ...dated("{HH}:{mm}")], [60, ...dated("{HH}:{mm}")], [1, ...dated("{HH}:{mm}:{ss}")]];

class Chart {
  /* stepped: each value lasts until the next one, over any stretch of time that is over */
  constructor(root, title, { stacked, stepped = false }) {
    this.root = root; this.title = title; this.stacked = stacked; this.stepped = stepped;
    this.hidden = new Set(); this.plot = null; this.key = ""; this.series = []; this.time = [];
    this.frame = make("div", { class: "plot", tabindex: "0", role: "img", "aria-label": title });
    this.live = make("p", { class: "readout", "aria-live": "polite" });
    this.legend = make("ul", { class: "legend", "aria-label": `Lines of: ${title}` });
    this.empty = make("p", { class: "empty" });
    root.append(this.frame, this.empty, this.live, this.legend);
    this.frame.addEventListener("keydown", event => this.walk(event));
    this.frame.addEventListener("blur", () => { this.live.textContent = ""; });
    new ResizeObserver(() => this.plot && this.plot.setSize(this.size())).observe(root);
  }

  size() { return { width: Math.max(200, this.root.clientWidth), height: window.innerWidth < 640 ? 200 : 250 }; }

  /* What stands there as long as there is nothing to draw. */
  wait(text) { if (this.empty.textContent !== text) this.empty.textContent = text; }

  /* series: [{key, label, color, values}] from the bottom of the stack up */
  show(time, series) {
    this.time = time; this.series = series;
    this.empty.hidden = time.length > 1;
    this.frame.hidden = time.length <= 1;
    if (time.length <= 1) return;
    const shown = series.filter(s => !this.hidden.has(s.key));
    const key = JSON.stringify([series.map(s => [s.key, s.label, s.color]), [...this.hidden], css("--grid")]);
    const data = [time, ...(this.stacked ? this.stack(shown) : shown.map(s => s.values))];
    const last = s => { const known = s.values.filter(v => v !== null); return known.length ? known[known.length - 1] : null; };
    const now = series.reduce((sum, s) => sum + (last(s) || 0), 0);
    const what = this.stepped ? "" : ` ${quantity(now, "W")} now, ${series.length} lines.`;
    this.frame.setAttribute("aria-label", `${this.title}:${what} Arrow keys read the values.`);
    if (key === this.key && this.plot) { this.plot.setData(data); return; }
    this.key = key;
    if (this.plot) this.plot.destroy();
    this.plot = new uPlot(this.options(this.stacked ? [...shown].reverse() : shown), data, this.frame);
    this.drawLegend();
  }

  /* Sums from the bottom up, the highest first, so that lower ones are painted over it; nothing where none is known. */
  stack(shown) {
    const sum = this.time.map((_, i) => shown.some(s => s.values[i] !== null) ? 0 : null);
    return shown.map(s => s.values.map((v, i) => sum[i] === null ? null : (sum[i] += v || 0))).reverse();
  }

  options(shown) {
    const axis = { stroke: css("--soft"), grid: { stroke: css("--grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    return {
      ...this.size(),
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { show: !this.stacked }, y: false },
      scales: { y: { range: (_, low, high) => [0, Math.max(10, high * 1.08)] } },
      axes: [
        { ...axis, values: this.stepped ? LONG : SHORT, space: 70, size: this.stepped ? 42 : 28 },
        { ...axis, size: 62, values: (_, ticks) => ticks.map(t => quantity(t, "W").replace(/\.0+ /, " ")) },
      ],
      series: [{}, ...shown.map(s => ({
        label: s.label, stroke: this.stacked ? undefined : s.color, width: 1.75, fill: this.stacked ? s.color : undefined,
        points: { show: false }, spanGaps: false, ...(this.stepped ? { paths: uPlot.paths.stepped({ align: 1 }), fill: `${s.color}22` } : {}),
      }))],
      hooks: { setCursor: [plot => this.read(plot.cursor.idx)] },
    };
  }

  read(i) {
    if (i === null || i === undefined || this.time[i] === undefined) { this.live.textContent = ""; return; }
    const when = new Date(this.time[i] * 1000)[this.stepped ? "toLocaleString" : "toLocaleTimeString"]([], { hour12: false });
    const parts = this.series.filter(s => !this.hidden.has(s.key) && s.values[i] !== null).map(s => `${s.label} ${quantity(s.values[i], "W")}`);
    this.live.textContent = `${when}  ${parts.join(" · ")}`;
  }

  walk(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || !this.plot) return;
    event.preventDefault();
    const from = this.plot.cursor.idx ?? this.time.length - 1;
    const to = Math.min(this.time.length - 1, Math.max(0, from + steps[event.key]));
    this.plot.setCursor({ left: this.plot.valToPos(this.time[to], "x"), top: 10 });
  }

  drawLegend() {
    const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.key : null;
    this.legend.replaceChildren(...this.series.map(s => {
      const dot = make("i");
      dot.style.background = s.color;
      const button = make("button", { type: "button", "aria-pressed": String(!this.hidden.has(s.key)), title: s.label }, dot, make("span", {}, s.label));
      button.dataset.key = s.key;
      button.addEventListener("click", () => {
        if (!this.hidden.delete(s.key)) this.hidden.add(s.key);
        this.key = "";
        this.show(this.time, this.series);
      });
      return make("li", {}, button);
    }));
    if (focused) [...this.legend.querySelectorAll("button")].find(b => b.dataset.key === focused)?.focus();
  }
}

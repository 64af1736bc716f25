"use strict";
/* Follows /api/v1/snapshot. Names are user text: they reach the page as text only, never as markup. */

const EVERY_MS = 2000, HOUR_S = 3600, PATIENCE_S = 30;
/* _rest is not an owner: the sum of the jobs that the chart does not draw by name. */
const NAMES = { _idle: "idle", _unattributed: "unattributed", _other: "jobs beyond the cap", _rest: "smaller jobs", _ended: "ended jobs" };
const $ = id => document.getElementById(id);
const charts = {
  gpus: new Chart($("chart-gpus"), "Power by GPU", { stacked: false }),
  jobs: new Chart($("chart-jobs"), "Power by job", { stacked: true }),
};
let last = null, base = null, tail = [];

const percent = (value, digits = 1) => value === null || !Number.isFinite(value) ? "–" : `${(value * 100).toFixed(digits)} %`;
const hours = s => s === null ? "–" : s >= 3600 ? `${(s / 3600).toFixed(2)} h` : s >= 60 ? `${(s / 60).toFixed(1)} min` : `${s.toFixed(0)} s`;
const nameOf = job => NAMES[job.job] || job.labels.name || job.labels.pod || job.job;
const whoOf = job => [job.labels.user || job.labels.namespace, job.labels.account, job.labels.partition].filter(Boolean).join(" · ");
const total = list => list.reduce((a, b) => a + b, 0);

/* Mean power between two snapshots, exactly as the server makes its steps: joules over the time that they cover, GPU by
   GPU. Nothing as long as a GPU's readings are still to come. */
function difference(now, then) {
  const before = new Map(then.gpus.map(gpu => [gpu.uuid, gpu])), covered = new Map();
  for (const gpu of now.gpus) {
    const old = before.get(gpu.uuid);
    if (old && gpu.covered_s > old.covered_s) covered.set(gpu.uuid, gpu.covered_s - old.covered_s);
  }
  const late = now.gpus.some(gpu => gpu.up && gpu.energy_source !== "none" && before.has(gpu.uuid) && !covered.has(gpu.uuid));
  if (late && now.time_s - then.time_s < PATIENCE_S) return null;
  const rise = (value, old) => value >= old ? value - old : value; /* a counter that fell restarted at 0 */
  const joules = part => part ? part.static_j + part.dynamic_j : 0;
  const step = { t: now.time_s, gpus: {}, jobs: {} }, jobs = new Map(then.jobs.map(job => [job.job, job]));
  for (const gpu of now.gpus) {
    if (covered.has(gpu.uuid)) step.gpus[gpu.uuid] = rise(gpu.energy_j, before.get(gpu.uuid).energy_j) / covered.get(gpu.uuid);
  }
  for (const job of now.jobs) {
    const old = jobs.get(job.job);
    for (const [uuid, part] of Object.entries(job.gpus)) {
      if (covered.has(uuid)) step.jobs[job.job] = (step.jobs[job.job] || 0) + rise(joules(part), joules(old && old.gpus[uuid])) / covered.get(uuid);
    }
  }
  return step;
}

/* Where the server draws only the largest jobs by name, so does this page. */
function folded(watts, steps) {
  if (!("_rest" in steps)) return watts;
  const kept = { _rest: 0 };
  for (const [key, value] of Object.entries(watts)) {
    if (key in steps) kept[key] = value;
    else kept._rest += value;
  }
  return kept;
}

/* The server's steps, then what this page saw since. */
function columns(snapshot, kind) {
  const steps = snapshot.history, from = steps.time_s.length ? steps.time_s[steps.time_s.length - 1] : -Infinity;
  const live = tail.filter(point => point.t > from).map(point => ({ ...point, [kind]: folded(point[kind], steps[kind]) }));
  const keys = new Set([...Object.keys(steps[kind]), ...live.flatMap(point => Object.keys(point[kind]))]);
  const time = [...steps.time_s, ...live.map(point => point.t)];
  const old = key => steps[kind][key] || new Array(steps.time_s.length).fill(null);
  const values = new Map([...keys].map(key => [key, [...old(key), ...live.map(point => point[kind][key] ?? null)]]));
  return { time, values };
}

function drawCharts(snapshot) {
  const gpus = columns(snapshot, "gpus"), jobs = columns(snapshot, "jobs");
  charts.gpus.show(gpus.time, snapshot.gpus.filter(g => gpus.values.has(g.uuid)).map((g, i) => (
    { key: g.uuid, label: `GPU ${g.gpu}`, color: css(`--c${i % 8}`), values: gpus.values.get(g.uuid) })));
  const rank = key => key === "_idle" ? 0 : key === "_unattributed" ? 1 : key === "_other" ? 2 : key === "_rest" ? 3 : 4;
  const order = [...jobs.values.keys()].filter(key => jobs.values.get(key).some(v => v > 0.05))
    .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  const facts = new Map(snapshot.jobs.map(job => [job.job, job])), names = snapshot.jobs.map(nameOf);
  /* Two runs of one script bear one name: then the key tells them apart. */
  const label = job => names.filter(name => name === nameOf(job)).length > 1 ? `${nameOf(job)} · ${job.job}` : nameOf(job);
  let colour = 0;
  charts.jobs.show(jobs.time, order.map(key => ({
    key, label: facts.has(key) ? label(facts.get(key)) : NAMES[key] || key, values: jobs.values.get(key),
    color: css(key === "_idle" ? "--idle" : key[0] === "_" ? "--unattributed" : `--c${colour++ % 8}`),
  })));
}

function tile(title, value, small) {
  return make("div", { class: "tile" }, make("h2", {}, title), make("p", {}, value, make("small", {}, small)));
}

function drawTiles(snapshot, now) {
  const known = snapshot.gpus.filter(g => g.energy_j !== null), readable = g => g.up && g.energy_source !== "none";
  const energy = known.length ? total(known.map(g => g.energy_j)) : null;
  const part = key => total(snapshot.jobs.filter(j => j.job === key).map(j => j.energy_j)) / energy;
  const reading = g => g.power_w.average ?? g.power_w.instant ?? null;
  const drawn = Object.values(now ? now.gpus : {}), readings = snapshot.gpus.map(reading).filter(v => v !== null);
  const watts = drawn.length ? total(drawn) : readings.length ? total(readings) : null;
  const limit = total(snapshot.gpus.map(g => g.limits_w.enforced || 0));
  const up = snapshot.gpus.filter(readable).length;
  const jobs = snapshot.jobs.filter(j => j.job[0] !== "_"), ended = jobs.filter(j => j.ended_s !== null).length;
  $("tiles").replaceChildren(
    tile("Power now", quantity(watts, "W"), limit && watts !== null ? `${percent(watts / limit, 0)} of the limits` : "GPU boards"),
    tile("Energy", quantity(energy, "J"), energy === null ? "unknown" : `${(energy / 3.6e6).toFixed(3)} kWh at the GPU boards`),
    tile("GPUs", snapshot.gpus.length ? `${up} of ${snapshot.gpus.length}` : "–", up === snapshot.gpus.length && up ? "all can be read" : up ? "some cannot be metered" : "none is being metered"),
    tile("Jobs", snapshot.gpus.length ? String(jobs.length - ended) : "–", ended ? `running; ${ended} more ended recently` : "running"),
    tile("Idle", percent(part("_idle")), "of the energy, held by no job"),
    tile("Unattributed", percent(part("_unattributed")), "used by somebody unknown"),
  );
}

const SVG = "http://www.w3.org/2000/svg";
function shape(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function meter(parts, text) {
  const svg = shape("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
  let x = 0;
  for (const [share, color] of parts) {
    svg.append(shape("rect", { x, y: 0, width: Math.max(0, Math.min(100 - x, share * 100)), height: 10, fill: css(color) }));
    x += share * 100;
  }
  return make("div", { class: "meter" }, svg, text);
}

const cell = (content, kind = "") => make("td", kind ? { class: kind } : {}, content);

function drawJobs(snapshot, now) {
  const largest = Math.max(1e-9, ...snapshot.jobs.map(j => j.energy_j));
  const rows = [...snapshot.jobs].filter(j => j.energy_j > 0 || j.job[0] !== "_")
    .sort((a, b) => (a.job[0] === "_") - (b.job[0] === "_") || b.energy_j - a.energy_j)
    .slice(0, 200)
    .map(job => make("tr", job.job[0] === "_" ? { class: "nobody" } : {},
      make("th", { scope: "row", title: job.job }, NAMES[job.job] || job.job),
      cell([whoOf(job), job.labels.name || job.labels.pod].filter(Boolean).join(" · "), "who"),
      cell(job.ended_s !== null ? "ended" : quantity(now ? now.jobs[job.job] ?? null : null, "W"), "n"),
      cell(quantity(job.energy_j, "J"), "n"),
      cell(job.sigma_j === null ? "–" : quantity(job.sigma_j, "J"), "n"),
      cell(meter([[job.static_j / largest, "--static"], [job.dynamic_j / largest, "--accent"]], percent(job.dynamic_j / job.energy_j, 0) + " dynamic")),
      cell(hours(job.active_s === null ? null : job.active_s + job.held_s), "n"),
      cell(hours(job.held_s), "n")));
  const ended = total(snapshot.gpus.map(gpu => gpu.ended_jobs_j));
  if (ended > 0) {
    rows.push(make("tr", { class: "nobody" }, make("th", { scope: "row" }, NAMES._ended), cell("no longer listed one by one", "who"),
      cell("–", "n"), cell(quantity(ended, "J"), "n"), cell("–", "n"), cell("–"), cell("–", "n"), cell("–", "n")));
  }
  $("jobs").tBodies[0].replaceChildren(...rows);
}

function drawGpus(snapshot, now) {
  $("gpus").tBodies[0].replaceChildren(...snapshot.gpus.map(gpu => {
    const watts = now && gpu.uuid in now.gpus ? now.gpus[gpu.uuid] : gpu.power_w.average ?? gpu.power_w.instant ?? null;
    const limit = gpu.limits_w.enforced || null, seen = gpu.covered_s + gpu.gap_s;
    const differs = gpu.disagreement !== null && (gpu.disagreement > 0.25 || gpu.disagreement < -0.2);
    const state = !gpu.up ? "lost" : gpu.energy_source === "none" ? "cannot be metered" : gpu.flags.length ? gpu.flags.join(", ").replaceAll("_", " ") : "good";
    return make("tr", {},
      make("th", { scope: "row", title: gpu.uuid }, `GPU ${gpu.gpu}`), cell(gpu.model), cell(quantity(watts, "W"), "n"),
      cell(limit && watts !== null ? meter([[watts / limit, "--accent"]], percent(watts / limit, 0)) : "–"),
      cell(quantity(gpu.energy_j, "J"), "n"), cell(gpu.sigma_j === null ? "–" : quantity(gpu.sigma_j, "J"), "n"), cell(gpu.energy_source),
      cell(seen > 0 ? percent(gpu.covered_s / seen, 2) : "–", "n"), cell(String(total(Object.values(gpu.rejected))), "n"),
      cell(gpu.disagreement === null ? "–" : percent(gpu.disagreement), differs ? "n bad" : "n"),
      cell(state, state === "good" ? "good" : "bad"));
  }));
  const faults = Object.entries(snapshot.faults).map(([part, n]) => `${part} failed ${n} time${n === 1 ? "" : "s"}; see the log`);
  $("notes").replaceChildren(...[...snapshot.notes, ...faults].map(text => make("li", {}, text)));
}

function drawFleet(fleet) {
  $("fleet").hidden = !fleet;
  if (!fleet) return;
  $("fleet-hosts").textContent = `${fleet.hosts_reporting} of ${fleet.hosts_known} hosts report. Bars are 95 % intervals; none is drawn where the sample gives none.`;
  const rows = Object.entries(fleet.boundaries);
  const most = Math.max(1, ...rows.flatMap(([, b]) => [b.mean_w, b.upper_w, b.supply_w].filter(v => v)));
  $("fleet-rows").replaceChildren(...rows.map(([name, b]) => {
    const at = watts => `${(watts / most) * 100}%`;
    const interval = Number.isFinite(b.lower_w) && Number.isFinite(b.upper_w);
    const svg = shape("svg", { "aria-hidden": "true" });
    svg.append(shape("rect", { x: 0, y: 11, width: "100%", height: 4, rx: 2, fill: css("--grid") }));
    if (interval) svg.append(shape("rect", { x: at(b.lower_w), y: 6, width: at(b.upper_w - b.lower_w), height: 14, rx: 4, fill: css("--accent"), opacity: 0.45 }));
    if (Number.isFinite(b.mean_w)) svg.append(shape("circle", { cx: at(b.mean_w), cy: 13, r: 6, fill: css("--accent") }));
    if (b.supply_w) svg.append(shape("rect", { x: at(b.supply_w), y: 2, width: 3, height: 22, fill: css("--bad"), transform: "translate(-3 0)" }));
    const text = make("span", {}, quantity(b.mean_w, "W"), make("small", {}, interval
      ? `${quantity(b.lower_w, "W")} to ${quantity(b.upper_w, "W")}` : "no interval"));
    if (b.supply_w) text.append(make("small", {}, `supply ${quantity(b.supply_w, "W")}`));
    return make("div", {}, make("b", {}, name === "it" || name === "gpu" ? name.toUpperCase() : name), svg, text);
  }));
  $("fleet-warnings").replaceChildren(...fleet.warnings.map(text => make("li", {}, text)));
}

function draw(snapshot) {
  const now = tail.length ? tail[tail.length - 1] : null;
  document.title = `${snapshot.simulated ? "simulated · " : ""}wattshed · ${snapshot.host}`;
  $("host").textContent = snapshot.host;
  $("simulated").hidden = !snapshot.simulated;
  $("unmetered").hidden = !snapshot.unmetered;
  $("why").textContent = snapshot.unmetered;
  for (const chart of Object.values(charts)) chart.wait(snapshot.unmetered ? "Nothing is metered." : "The first points appear within a few seconds.");
  $("about").textContent = ["wattshed " + snapshot.version, ...new Set([snapshot.meter, snapshot.library])].filter(Boolean).join(" · ");
  /* `wattshed fleet serve` and a collector meter no GPU themselves */
  const elsewhere = snapshot.fleet !== null || snapshot.meter === "collector";
  for (const part of document.querySelectorAll(".host")) part.hidden = snapshot.gpus.length === 0 && elsewhere;
  drawTiles(snapshot, now); drawJobs(snapshot, now); drawGpus(snapshot, now); drawFleet(snapshot.fleet); drawCharts(snapshot);
}

function say(text, bad) {
  const pill = $("state");
  if (pill.textContent !== text) pill.textContent = text;
  pill.classList.toggle("bad", bad);
}

async function follow() {
  try {
    const answer = await fetch("/api/v1/snapshot", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(`answers ${answer.status}`);
    const snapshot = await answer.json();
    if (base && snapshot.started_s !== base.started_s) { tail = []; base = null; } /* the agent was restarted */
    const step = base && snapshot.seq > base.seq ? difference(snapshot, base) : null;
    if (step) tail = [...tail.filter(point => point.t > snapshot.time_s - HOUR_S), step];
    if (step || !base) base = snapshot;
    if (!last || snapshot.seq !== last.seq) last = snapshot;
    draw(snapshot);
    const age = Date.now() / 1000 - snapshot.time_s;
    if (snapshot.unmetered) say("not metering", true);
    else if (!snapshot.ready) say("waiting for the first window", false);
    else if (age > 30) say(`last window ${hours(age)} ago`, true);
    else say("live", false);
  } catch (error) {
    say(`no answer (${error.message})`, true);
  }
  setTimeout(follow, EVERY_MS);
}

const THEMES = ["auto", "light", "dark"];
function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  $("theme").textContent = `◐ ${name}`;
  $("theme").setAttribute("aria-label", `Theme: ${name}; press to change`);
  try { localStorage.setItem("theme", name); } catch { /* a private window: it lasts for this visit */ }
  if (last) draw(last);
  document.dispatchEvent(new Event("theme"));
}
$("theme").addEventListener("click", () => theme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "auto") + 1) % 3]));
try { theme(THEMES.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "auto"); } catch { theme("auto"); }
for (const medium of ["(prefers-color-scheme: dark)", "print"]) {
  matchMedia(medium).addEventListener("change", () => {
    if (last) draw(last);
    document.dispatchEvent(new Event("theme"));
  });
}
follow();

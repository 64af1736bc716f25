"use strict";
/* Power over the last hour, day, week or all time: asks /api/v1/power now and then, and puts behind it what this page saw since
   in the snapshots, which come every other second. */

const RANGES = { hour: [3600, 10000], day: [86400, 60000], week: [604800, 120000], start: [Infinity, 120000] }; /* how far back, s; asked again after, ms */
const HOUR_S = 3600, PATIENCE_S = 30;
/* _rest is not an owner: the sum of the jobs that the chart does not draw by name. */
const NAMES = { _idle: "idle", _unattributed: "unattributed", _other: "jobs beyond the cap", _rest: "smaller jobs", _ended: "ended jobs" };
const nameOf = job => NAMES[job.job] || job.labels.name || job.labels.pod || job.labels.unit || job.job;
const charts = {
  gpus: new Chart($("chart-gpus"), "Power by GPU", { stacked: true }),
  jobs: new Chart($("chart-jobs"), "Power by job", { stacked: true }),
};
let stored = null, tail = [], base = null, rangeTimer = null;

/* What is asked for stands in the address, so that it can be sent to somebody and the browser's back button works. */
const wanted = () => new URLSearchParams(location.hash.slice(1));
function hash(changes) {
  const next = wanted();
  for (const [name, value] of Object.entries(changes)) {
    if (value) next.set(name, value);
    else next.delete(name);
  }
  return `#${next}`;
}
const range = () => wanted().get("range") in RANGES ? wanted().get("range") : "hour";

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
  const step = { from: then.time_s, t: now.time_s, gpus: {}, jobs: {} }, jobs = new Map(then.jobs.map(job => [job.job, job]));
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

/* Takes note of a snapshot; returns the newest step there is. */
function observe(snapshot) {
  if (base && snapshot.started_s !== base.started_s) { tail = []; base = null; } /* the agent was restarted */
  const step = base && snapshot.seq > base.seq ? difference(snapshot, base) : null;
  if (step) tail = [...tail.filter(point => point.t > snapshot.time_s - HOUR_S), step];
  if (step || !base) base = snapshot;
  return tail.length ? tail[tail.length - 1] : null;
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

/* The server's steps, then what this page saw since: when each begins and ends, and watts by key. */
function steps(kind) {
  const past = stored ?? { from_s: [], to_s: [], gpus: {}, jobs: {} }, end = past.to_s.length ? past.to_s[past.to_s.length - 1] : -Infinity;
  const since = [];
  for (const point of tail) { /* only what follows on what is known: a hole that a later answer fills is none */
    if (point.t > end && (!past.to_s.length || point.from <= (since.length ? since[since.length - 1].t : end) + 0.5)) since.push(point);
  }
  const live = since.map(point => folded(point[kind], past[kind]));
  const keys = [...new Set([...Object.keys(past[kind]), ...live.flatMap(Object.keys)])];
  const old = key => past[kind][key] ?? new Array(past.to_s.length).fill(null);
  return {
    from: [...past.from_s, ...since.map(point => Math.max(point.from, end))], to: [...past.to_s, ...since.map(point => point.t)],
    values: new Map(keys.map(key => [key, [...old(key), ...live.map(watts => watts[key] ?? null)]])),
  };
}

function drawStack(chart, told, entries, scale) {
  const drawn = staircase(told.from, told.to, entries.map(([key]) => told.values.get(key)));
  chart.show(drawn.time, entries.map(([key, label, color], i) => ({ key, label, color, values: drawn.values[i] })), scale);
}

/* The most that was drawn in any step. */
function highest({ from, values }) {
  const lists = [...values.values()];
  return from.reduce((most, _, i) => Math.max(most, total(lists.map(list => list[i] ?? 0))), 0);
}

function drawCharts(snapshot) {
  const gpus = steps("gpus"), jobs = steps("jobs");
  const limits = snapshot.gpus.map(gpu => gpu.limits_w.enforced ?? null);
  const limit = limits.length && limits.every(isKnown) ? { label: "limit of all GPUs", watts: total(limits) } : null;
  const scale = { limit, top: Math.max(highest(gpus), highest(jobs)) }; /* one for both: what is as high is as much */
  drawStack(charts.gpus, gpus, snapshot.gpus.filter(g => gpus.values.has(g.uuid)).map((g, i) => [g.uuid, `GPU ${g.gpu}`, colourOf(i)]), scale);
  const nobody = ["_idle", "_unattributed", "_other", "_ended", "_rest"], rank = key => nobody.includes(key) ? nobody.indexOf(key) : nobody.length;
  const keys = [...jobs.values.keys()].filter(key => jobs.values.get(key).some(v => v > 0.05)).sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  const facts = new Map(snapshot.jobs.map(job => [job.job, job])), names = snapshot.jobs.map(nameOf);
  /* Two runs of one script bear one name: then the key tells them apart. */
  const label = job => names.filter(name => name === nameOf(job)).length > 1 ? `${nameOf(job)} · ${job.job}` : nameOf(job);
  let colour = 0;
  drawStack(charts.jobs, jobs, keys.map(key => [
    key, facts.has(key) ? label(facts.get(key)) : NAMES[key] || key,
    key === "_idle" ? css("--idle") : key === "_ended" ? css("--ended") : key[0] === "_" ? css("--unattributed") : colourOf(colour++),
  ]), scale);
}

/* How much it was, in words, and from when on. */
function drawRange(snapshot) {
  for (const radio of document.querySelectorAll("#range input")) radio.checked = radio.value === range();
  const known = stored && stored.range === range() && stored.to_s.length;
  const energy = known ? total(Object.values(stored.energy_j.gpus)) : null;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const since = known ? new Date(stored.from_s[0] * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short", hour12: false }) : "";
  $("range-energy").replaceChildren(...(known ? [make("b", {}, wattHours(energy)), ` (${quantity(energy, "J")}) since ${since}`,
    ...worth(energy, snapshot.prices).map(text => ` · ${text}`), ` · times: ${zone}`] : [stored?.range === range() ? "nothing is known of this time yet" : "reading"]));
  $("range-missing").textContent = known && stored.missing ? `What was before is not shown: ${stored.missing}.` : "";
}

async function readRange() {
  clearTimeout(rangeTimer);
  const mine = range();
  try {
    const answer = await fetch(`/api/v1/power?range=${mine}`, { cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (answer.ok && mine === range()) {
      stored = await answer.json();
      document.dispatchEvent(new Event("power"));
    }
  } catch { /* the snapshot says that there is no answer */ }
  if (mine === range()) rangeTimer = setTimeout(readRange, RANGES[mine][1]);
}

for (const radio of document.querySelectorAll("#range input")) {
  radio.addEventListener("change", () => { location.hash = hash({ range: radio.value === "hour" ? "" : radio.value }); });
}
addEventListener("hashchange", () => { if (stored?.range !== range()) readRange(); });
readRange();

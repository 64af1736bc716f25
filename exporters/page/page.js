"use strict";
/* Follows /api/v1/snapshot. Names are user text: they reach the page as text only, never as markup. */

const EVERY_MS = 2000;
const whoOf = job => [job.labels.user || job.labels.namespace, job.labels.account, job.labels.partition].filter(Boolean);
const isJob = job => job.job[0] !== "_";
const isRunning = job => isJob(job) && job.ended_s === null;
const isReadable = gpu => gpu.health.status === "ok" && gpu.energy_source !== "none";
let last = null, now = null, heard = null, tables = null;

function drawTiles(snapshot) {
  const known = snapshot.gpus.filter(g => g.energy_j !== null), starting = !snapshot.ready && !snapshot.unmetered;
  const energy = known.length ? total(known.map(g => g.energy_j)) : null;
  const part = key => energy ? total(snapshot.jobs.filter(j => j.job === key).map(j => j.energy_j)) / energy : null;
  const reading = g => g.power_w.average ?? g.power_w.instant ?? null;
  const drawn = Object.values(now ? now.gpus : {}), readings = snapshot.gpus.map(reading).filter(v => v !== null);
  const watts = drawn.length ? total(drawn) : readings.length ? total(readings) : null;
  const limit = total(snapshot.gpus.map(g => g.limits_w.enforced || 0));
  const up = snapshot.gpus.filter(isReadable).length, all = snapshot.gpus.length;
  const running = snapshot.jobs.filter(isRunning).length, ended = snapshot.jobs.filter(isJob).length - running;
  const wait = starting ? "starting: reading the GPUs" : "unknown", metered = all && !starting;
  const readable = !all ? wait : up === all ? "all can be read" : up ? `${all - up} not metered now` : starting ? wait : "none is being metered";
  const began = isKnown(snapshot.counters_since_s) ? new Date(snapshot.counters_since_s * 1000).toLocaleDateString([], { dateStyle: "medium" }) : "";
  $("tiles").replaceChildren(
    tile("Power now", quantity(watts, "W"), watts === null ? wait : limit ? `${percent(watts / limit, 0)} of the limits` : "GPU boards"),
    tile("Energy", wattHours(energy), energy === null ? wait : [quantity(energy, "J"), ...worth(energy, snapshot.prices), began && `since ${began}`].filter(Boolean).join(" · ")),
    tile("GPUs", all ? `${up} of ${all}` : UNKNOWN, readable),
    tile("Jobs", metered ? String(running) : UNKNOWN, !metered ? wait : ended ? `running; ${ended} more ended recently` : "running"),
    tile("Idle", percent(part("_idle")), part("_idle") === null ? wait : "of the energy, held by no job"),
    tile("Unattributed", percent(part("_unattributed")), part("_unattributed") === null ? wait : "used by somebody unknown"),
  );
}

const energyCell = (joules, sigma) => lines(wattHours(joules), [doubt(sigma), quantity(joules, "J")].filter(Boolean));

function jobHead(job) {
  if (!isJob(job)) return nameOf(job);
  const name = nameOf(job), link = placed(hash({ open: job.job }), shortened(name, 30), job.job, job.job);
  return name === job.job ? link : make("span", {}, link, make("small", { title: job.job }, shortened(job.job)));
}

/* A user's name leads to all that user's jobs. */
function whoCell(job) {
  const [first, ...rest] = whoOf(job);
  if (!first) return "";
  const by = job.labels.user ? "user" : "namespace";
  return make("span", {}, placed(hash({ q: first, by, value: first }), first, `${job.job}\nwho`), ...(rest.length ? [make("small", {}, rest.join(" · "))] : []));
}

/* Jobs stay here for some minutes after their end: long enough for whoever looks now and then. */
function stateCell(job) {
  if (!isJob(job)) return "";
  return isRunning(job) ? make("span", { class: "good" }, "running") : `ended ${clock(job.ended_s)}`;
}

function gpusOf(job) {
  const numbers = new Map(last.gpus.map(gpu => [gpu.uuid, gpu.gpu]));
  return Object.keys(job.gpus).map(uuid => numbers.get(uuid)).filter(isKnown).sort((a, b) => a - b);
}

/* 0-3, 5 */
function ranges(numbers) {
  const runs = [];
  for (const n of numbers) {
    if (runs.length && runs[runs.length - 1][1] === n - 1) runs[runs.length - 1][1] = n;
    else runs.push([n, n]);
  }
  return runs.map(([from, to]) => from === to ? String(from) : `${from}-${to}`).join(", ");
}

/* What is drawn now, and what a job is believed to draw on one GPU when it is busy all the time. */
const powerCell = (drawn, full, sigma) => !isKnown(full) ? quantity(drawn, "W")
  : lines(quantity(drawn, "W"), `full ${withDoubt(full, sigma, "W")}`.split(/ (?=±)/), "at full activity of a GPU, above idle: an estimate");

function jobColumns(prices) {
  const watts = job => now && job.ended_s === null ? now.jobs[job.job] ?? null : null, held = job => job.active_s === null ? null : job.active_s + job.held_s;
  const share = job => job.energy_j > 0 ? job.dynamic_j / job.energy_j : null;
  const largest = () => Math.max(1e-9, ...last.jobs.map(j => j.energy_j));
  return [
    { title: "Job", cell: jobHead, value: nameOf },
    { title: "Who", cell: whoCell, value: job => whoOf(job).join(" "), kind: "who" },
    { title: "State", cell: stateCell, value: job => job.ended_s ?? Number.MAX_VALUE },
    { title: "Power", cell: job => powerCell(watts(job), job.watts, job.watts_sigma), value: watts, kind: "n" },
    { title: "Energy", cell: job => energyCell(job.energy_j, job.sigma_j), value: job => job.energy_j, kind: "n" },
    ...(prices && prices.per_kwh !== null ? [{ title: "Cost", cell: job => money(job.energy_j, prices), value: job => job.energy_j, kind: "n" }] : []),
    ...(last.jobs.some(job => job.work) ? [perUnitColumn] : []),
    { title: "Dynamic share", help: "of the energy; the rest is the idle power of GPU time that the job held", value: share, kind: "wide", cell: job => meter(
      [[job.static_j / largest(), "--static"], [job.dynamic_j / largest(), "--accent"]], job.energy_j > 0 ? `${percent(share(job), 0)}` : "") },
    { title: "GPUs", cell: job => isJob(job) ? ranges(gpusOf(job)) || UNKNOWN : "", value: job => gpusOf(job).length, kind: "n" },
    { title: "GPU time", cell: job => isJob(job) ? hours(held(job)) : UNKNOWN, value: held, kind: "n" },
    { title: "Held idle", cell: job => isJob(job) ? hours(job.held_s) : UNKNOWN, value: job => job.held_s, kind: "n" },
  ];
}

function gpuColumns() {
  const gauge = name => gpu => gpu.up ? gpu.gauges[name] ?? null : null, limit = gpu => gpu.limits_w.enforced ?? null;
  const watts = gpu => !gpu.up ? null : now ? now.gpus[gpu.uuid] ?? null : gpu.power_w.average ?? gpu.power_w.instant ?? null;
  const share = gpu => watts(gpu) !== null && limit(gpu) ? watts(gpu) / limit(gpu) : null;
  const degrees = value => isKnown(value) ? `${fixed(value, 0)} °C` : UNKNOWN, hertz = value => isKnown(value) ? `${fixed(value, 0)} MHz` : UNKNOWN;
  const gib = value => fixed(value / 1024, value < 102400 ? 1 : 0);
  const memory = gpu => isKnown(gauge("fb_used_mib")(gpu)) ? `${gib(gpu.gauges.fb_used_mib)} GiB` : UNKNOWN;
  const beside = (first, second, what) => second === UNKNOWN ? first : lines(first, [what, second]);
  const history = () => steps("gpus").values;
  return [
    { title: "GPU", cell: gpu => lines(`GPU ${gpu.gpu}`, gpu.model, gpu.uuid), value: gpu => gpu.gpu },
    { title: "Power", cell: gpu => quantity(watts(gpu), "W"), value: watts, kind: "n" },
    { title: "% of limit", value: share, kind: "wide", help: "of the power limit that is enforced", cell: gpu => share(gpu) === null ? UNKNOWN
      : make("span", {}, meter([[share(gpu), "--accent"]], percent(share(gpu), 0)), make("small", {}, `limit ${quantity(limit(gpu), "W")}`)) },
    { title: "Over the range", cell: gpu => {
      const values = history().get(gpu.uuid) ?? [], most = Math.max(0, ...values.filter(isKnown));
      return most ? sparkline(values.slice(-400), limit(gpu) ?? most, `power of GPU ${gpu.gpu}, at most ${quantity(most, "W")}`) : UNKNOWN;
    } },
    { title: "Utilisation", cell: gpu => isKnown(gauge("gpu_util")(gpu)) ? `${fixed(gpu.gauges.gpu_util, 0)} %` : UNKNOWN, value: gauge("gpu_util"), kind: "n" },
    { title: "Memory", cell: gpu => beside(memory(gpu), isKnown(gauge("fb_total_mib")(gpu)) ? `${gib(gpu.gauges.fb_total_mib)} GiB` : UNKNOWN, "of"), value: gauge("fb_used_mib"), kind: "n" },
    { title: "Temperature", cell: gpu => beside(degrees(gauge("temperature_c")(gpu)), degrees(gauge("memory_temperature_c")(gpu)), "memory"), value: gauge("temperature_c"), kind: "n" },
    { title: "Clock", cell: gpu => beside(hertz(gauge("sm_clock_mhz")(gpu)), hertz(gauge("mem_clock_mhz")(gpu)), "memory"), value: gauge("sm_clock_mhz"), kind: "n" },
    { title: "Energy", cell: gpu => energyCell(gpu.energy_j, gpu.sigma_j), value: gpu => gpu.energy_j, kind: "n" },
  ];
}

// Somebody wanted it so: nothing is wrong with such a GPU.
const MEANT = new Set(["released", "asleep"]);

function qualityColumns() {
  const covered = gpu => gpu.covered_s + gpu.gap_s > 0 ? gpu.covered_s / (gpu.covered_s + gpu.gap_s) : null;
  const rejected = gpu => total(Object.values(gpu.rejected));
  const wants = gpu => (gpu.health.recovery_action ?? "none") === "none" ? [] : [`wants ${gpu.health.recovery_action}`];
  const shapes = flag => flag.startsWith("power_profile_") || flag.endsWith("power_smoothing"), plain = texts => texts.join(", ").replaceAll("_", " ");
  const doubts = gpu => [...wants(gpu), ...gpu.flags.filter(flag => !shapes(flag))];
  const state = gpu => gpu.health.status !== "ok" ? gpu.health.status : gpu.energy_source === "none" ? "cannot be metered" : plain(doubts(gpu)) || "good";
  return [
    { title: "GPU", cell: gpu => `GPU ${gpu.gpu}`, value: gpu => gpu.gpu },
    { title: "State", kind: "wide", cell: gpu => make("span", {}, make("span", { class: state(gpu) === "good" ? "good" : MEANT.has(state(gpu)) ? "" : "bad" }, state(gpu)), make("small", { class: "why" }, gpu.health.why || plain(gpu.flags.filter(shapes)))), value: state },
    { title: "Source", cell: gpu => gpu.energy_source.replaceAll("_", " "), value: gpu => gpu.energy_source },
    { title: "Covered", cell: gpu => percent(covered(gpu), 2), value: covered, kind: "n" },
    { title: "Gaps", cell: gpu => hours(gpu.gap_s), value: gpu => gpu.gap_s, kind: "n" },
    { title: "Rejected", cell: gpu => String(rejected(gpu)), value: rejected, kind: "n" },
    { title: "Meters differ", cell: gpu => percent(gpu.disagreement), value: gpu => gpu.disagreement, kind: "n", help: "power readings against the energy counter" },
    { title: "Last XID", cell: gpu => isKnown(gpu.last_xid) ? String(gpu.last_xid) : "none", value: gpu => gpu.last_xid, kind: "n" },
    { title: "UUID", cell: gpu => make("code", { class: "id" }, gpu.uuid), value: gpu => gpu.uuid, kind: "wide" },
  ];
}

function makeTables(snapshot) {
  const jobs = jobColumns(snapshot.prices);
  return {
    jobs: new Table($("jobs"), jobs, {
      sort: jobs.findIndex(column => column.title === "State"), last: job => job.job === "_idle" ? 1 : isJob(job) ? 0 : 2,
      kind: job => !isJob(job) ? "nobody" : isRunning(job) ? "" : "over",
    }),
    gpus: new Table($("gpus"), gpuColumns(), { sort: 0, down: false }),
    quality: new Table($("quality"), qualityColumns(), { sort: 0, down: false }),
  };
}

function drawTables(snapshot) {
  tables ??= makeTables(snapshot);
  const q = (wanted().get("q") || "").trim().toLowerCase(), text = job => [job.job, nameOf(job), ...whoOf(job)].join("\n").toLowerCase();
  const shown = snapshot.jobs.filter(job => !q || (isJob(job) && text(job).includes(q))).sort((a, b) => (b.energy_j ?? 0) - (a.energy_j ?? 0));
  const jobs = snapshot.jobs.filter(isJob).length, over = shown.filter(job => job.ended_s !== null).length;
  if (document.activeElement !== $("filter")) $("filter").value = wanted().get("q") || "";
  tables.jobs.show(shown);
  tables.gpus.show(snapshot.gpus);
  tables.quality.show(snapshot.gpus);
  const energy = total(shown.map(job => job.energy_j ?? 0));
  $("filtered").textContent = q ? `${shown.length} of ${count(jobs, "job")}${over ? `, ${over} of them ended` : ""}: ${[wattHours(energy), ...worth(energy, snapshot.prices)].join(" · ")}` : "";
  const notes = [...snapshot.notes, ...Object.entries(snapshot.faults).map(([name, n]) => `fault in ${name.replaceAll("_", " ")}: ${count(n, "time")}`)];
  $("notes").replaceChildren(...notes.map(note => make("li", {}, note)));
}

function drawFleet(fleet) {
  $("fleet").hidden = !fleet;
  if (!fleet) return;
  const states = Object.entries(fleet.hosts_by_state).filter(([, n]) => n).map(([state, n]) => `${n} ${state}`);
  const models = fleet.node_models.map(m => `${m.stratum} ${quantity(m.fixed_w, "W")} + ${m.slope.toFixed(2)} per GPU watt (${m.source})`);
  $("fleet-hosts").textContent = `${fleet.hosts_reporting} of ${fleet.hosts_known} hosts report.${states.length ? ` By state: ${states.join(", ")}.` : ""}${models.length ? ` Nodes by stratum: ${models.join(", ")}.` : ""} Bars are 95 % intervals; none is drawn where the sample gives none.`;
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
  drawTiles(snapshot); drawTables(snapshot); drawHost(snapshot); drawFleet(snapshot.fleet); drawRange(snapshot); drawCharts(snapshot);
}

function say(text, kind = "") {
  const pill = $("state");
  if (pill.textContent !== text) pill.textContent = text;
  pill.className = `pill ${kind}`;
}

/* Without an answer the page keeps showing the last one, and says from when it is. */
function lose(why) {
  say(`no answer (${why})`, "bad");
  $("gone").hidden = false;
  $("gone-since").textContent = heard ? `since ${heard.toLocaleTimeString([], { hour12: false })}. What is shown is from then` : "";
  document.body.classList.add("stale");
}

async function follow() {
  try {
    const answer = await fetch("/api/v1/snapshot?history=none", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(`answers ${answer.status}`);
    const snapshot = await answer.json();
    heard = new Date();
    $("gone").hidden = true;
    document.body.classList.remove("stale");
    now = observe(snapshot);
    last = snapshot;
    draw(snapshot);
    const age = Date.now() / 1000 - snapshot.time_s;
    if (snapshot.unmetered) say("not metering", "bad");
    else if (!snapshot.ready) say("starting", "wait");
    else if (age > 30) say(`last window ${hours(age)} ago`, "bad");
    else say("live");
  } catch (error) {
    lose(error.message);
  }
  setTimeout(follow, EVERY_MS);
}

const redraw = () => { if (last) draw(last); };
$("filter").addEventListener("input", () => {
  history.replaceState(null, "", hash({ q: $("filter").value.trim() }));
  redraw();
});
document.addEventListener("power", redraw);
addEventListener("hashchange", redraw);

const THEMES = ["auto", "light", "dark"];
function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  $("theme").textContent = `◐\u00a0${name}`;
  $("theme").setAttribute("aria-label", `Theme: ${name}; press to change`);
  try { localStorage.setItem("theme", name); } catch { /* a private window: it lasts for this visit */ }
  redraw();
  document.dispatchEvent(new Event("theme"));
}
$("theme").addEventListener("click", () => theme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "auto") + 1) % 3]));
try { theme(THEMES.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "auto"); } catch { theme("auto"); }
for (const medium of ["(prefers-color-scheme: dark)", "print"]) {
  matchMedia(medium).addEventListener("change", () => {
    redraw();
    document.dispatchEvent(new Event("theme"));
  });
}
follow();

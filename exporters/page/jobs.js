"use strict";
/* Jobs, running and ended, and one of them: asks /api/v1/jobs, where /api/v1/access says that this is allowed. What is asked
   for stands in the address, so that it can be sent to somebody and the browser's back button works. Names are user text:
   they reach the page as text only. */

const LIST_MS = 15000, JOB_MS = 10000, PAGE = 50;
const BOUNDARY = { board: "at the GPU boards, without processors, memory and fans of the node", module: "of the whole modules, processors included" };
const FLAGS = {
  requeued: "it was requeued and began again", end_unknown: "when it ended is not known",
  lower_bound: "hosts are missing, so this is a lower bound", clock_skew: "the clock of a host was wrong, so its times are, too",
};
const SIMULATED = "SIMULATED DATA, all of it or a part: no GPU drew it.";
const NOT_KNOWN = "No such job is known here, or it is not yours to see.";
const STATES = { running: "running", complete: "ended", waiting: "ended, hosts are still to tell", incomplete: "ended, hosts are missing" };
const power = new Chart($("chart-one"), "Power while it ran", { stacked: false });
let found = [], older = "", opened = null, access = null, listTimer = null, jobTimer = null, asked = 0, summed = 0;

const when = s => s === null ? "–" : new Date(s * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "medium", hour12: false });
const who = job => [job.user || job.namespace, job.account, job.partition].filter(Boolean).join(" · ");
const some = (names, most = 3) => names.length <= most ? names.join(", ") : `${names.slice(0, most).join(", ")} and ${names.length - most} more`;
const place = job => `${job.job}\n${job.run}\n${job.hosts[0] ?? ""}`;

function ended(job) {
  if (job.state === "running") return "running";
  const missing = job.hosts_expected !== null && job.hosts.length < job.hosts_expected;
  return missing ? `${job.hosts.length} of ${job.hosts_expected} hosts` : when(job.end_s);
}

/* What the server answers, or an error whose text is for people. */
async function ask(path) {
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(10000) });
  } catch {
    throw Object.assign(new Error("There is no answer."), { status: 0 });
  }
  if (answer.ok) return answer.json();
  let why = answer.statusText;
  try { why = (await answer.json()).error || why; } catch { /* the status says it */ }
  throw Object.assign(new Error(why), { status: answer.status });
}

/* Whether jobs may be asked for: known before they are, so that nothing needs to be refused. */
const isAllowed = () => access !== null && ["all", "own"].includes(access.jobs);
async function allowed() {
  if (!isAllowed()) access = await ask("/api/v1/access");
  return isAllowed();
}

function sayWhyNot() {
  $("all").hidden = access.jobs === "none"; /* an agent that keeps no history, the estimate of a fleet */
  for (const part of ["all-what", "ask", "found-frame", "older"]) $(part).hidden = true;
  if (access.jobs === "refused") {
    $("all-note").replaceChildren("Jobs that ended more than some minutes ago, and whose they were, are not for everybody. To see them here, the server needs users or client certificates (",
      make("code", {}, "--web.config.file"), "), and you must be one of its ", make("code", {}, "tcp_users"), ". On the host itself ",
      make("code", {}, "wattshed jobs"), " shows your own.");
  } else {
    $("all-note").textContent = access.why;
  }
}

function query(more) {
  const of = wanted(), parameters = new URLSearchParams({ limit: PAGE });
  if (of.get("value")) parameters.set(of.get("by") || "job", of.get("value"));
  if (of.get("state")) parameters.set("running", of.get("state") === "running" ? "1" : "0");
  if (of.get("since")) parameters.set("since", of.get("since"));
  if (more) parameters.set("cursor", more);
  return `/api/v1/jobs?${parameters}`;
}

/* The newest page is read again and again, until older ones are looked at, too. */
async function list(more = "") {
  clearTimeout(listTimer);
  const mine = ++asked;
  try {
    const page = await allowed() ? await ask(query(more)) : null;
    if (mine !== asked) return; /* something else was asked for meanwhile */
    if (page === null) sayWhyNot();
    else showPage(page, more);
  } catch (error) {
    if (mine !== asked) return;
    if (isAllowed()) $("all").hidden = $("ask").hidden = false;
    if (error.status === 403 || error.status === 503) access = null; /* no longer, perhaps */
    $("all-note").textContent = error.message;
  }
  if (found.length <= PAGE) listTimer = setTimeout(list, LIST_MS);
}

function showPage(page, more) {
  for (const part of ["all", "all-what", "ask"]) $(part).hidden = false;
  const known = new Set(more ? found.map(place) : []);
  found = [...(more ? found : []), ...page.jobs.filter(job => !known.has(place(job)))];
  older = page.cursor;
  $("older").hidden = !older;
  $("found-frame").hidden = !found.length;
  $("all-note").textContent = !found.length ? "No such job is known." : page.simulated ? SIMULATED : "";
  drawFound();
}

const number = text => text === null ? null : Number(text);
const foundColumns = work => [
  { title: "Job", value: job => job.name || job.job, cell: job => {
    const link = placed(hash({ open: job.job }), shortened(job.name || job.job, 30), place(job), job.job);
    return job.name ? make("span", {}, link, make("small", { title: job.job }, shortened(job.job))) : link;
  } },
  { title: "Who", value: who, kind: "who", cell: job => {
    const [first, ...rest] = who(job).split(" · ");
    return first ? make("span", {}, placed(hash({ by: job.user ? "user" : "namespace", value: first }), first, `${place(job)}\nwho`), ...(rest.length ? [make("small", {}, rest.join(" · "))] : [])) : "";
  } },
  { title: "Ended", value: job => job.end_s, cell: job => make("span", { class: job.state === "running" ? "good" : "" }, ended(job)) },
  { title: "Elapsed", value: job => job.elapsed_s, cell: job => hours(job.elapsed_s), kind: "n" },
  { title: "GPUs", value: job => job.gpus, cell: job => job.gpus === null ? UNKNOWN : String(job.gpus), kind: "n" },
  { title: "Energy", value: job => number(job.energy_j), cell: job => energyCell(number(job.energy_j), job.sigma_j), kind: "n" },
  ...(work ? [perUnitColumn] : []),
  { title: "Mean power", value: job => job.mean_w, cell: job => quantity(job.mean_w, "W"), kind: "n" },
  { title: "Held idle", value: job => job.held_idle, cell: job => percent(job.held_idle, 0), kind: "n", help: "of its GPU time" },
];
let foundTable = null, foundWork = false;

/* Most histories have no job that did any work that is known: then there is no column for it. */
function drawFound() {
  const work = found.some(job => mainWork(job.work) !== null);
  if (foundTable === null || work !== foundWork) foundTable = new Table($("found"), foundColumns(foundWork = work));
  foundTable.show(found);
}

/* What all jobs that are searched for used, day by day: a user's bill, if it is a user. */
async function sum() {
  const of = wanted(), mine = ++summed, by = of.get("by");
  const asks = of.get("value") && by && by !== "job";
  if (!asks) { $("sum").hidden = true; return; }
  const parameters = new URLSearchParams({ by: "day", [by]: of.get("value"), ...(of.get("since") ? { since: of.get("since") } : {}) });
  try {
    const report = await allowed() ? await ask(`/api/v1/report?${parameters}`) : null;
    if (mine !== summed) return;
    if (report === null) $("sum").hidden = true;
    else drawSum(report, of.get("value"));
  } catch {
    if (mine === summed) $("sum").hidden = true; /* the list below says why there is nothing */
  }
}

function drawSum(report, whose) {
  const all = report.total, energy = number(all.energy_j), held = all.active_s + all.held_s;
  $("sum").hidden = !report.rows.length;
  $("sum-title").textContent = `All of ${whose}`;
  $("sum-tiles").replaceChildren(
    tile("Energy", wattHours(energy), [doubt(all.sigma_j), quantity(energy, "J")].filter(Boolean).join(" · ")),
    ...(worth(energy, last?.prices).length ? [tile("Worth", worth(energy, last.prices)[0], worth(energy, last.prices).slice(1).join(" · "))] : []),
    tile("GPU time", hours(held), "held by these jobs"),
    tile("Held idle", held > 0 ? percent(all.held_s / held, 0) : UNKNOWN, "of that time"));
  const most = Math.max(1e-9, ...report.rows.map(row => number(row.energy_j)));
  $("sum-days").replaceChildren(...report.rows.slice(-31).map(row => make("li", {}, make("span", {}, row.name), meter([[number(row.energy_j) / most, "--accent"]], wattHours(number(row.energy_j))))));
}

async function one() {
  clearTimeout(jobTimer);
  const key = wanted().get("open");
  $("one").hidden = !key;
  if (!key) { opened = null; return; }
  if (opened?.key !== key) {
    opened = { key, document: null };
    $("one-title").textContent = key;
    $("one-why").textContent = "loading";
    $("one-body").hidden = true;
    $("one").scrollIntoView();
    $("one-title").focus({ preventScroll: true });
  }
  const mine = opened;
  let told = null, why = NOT_KNOWN, again = true;
  try {
    told = await allowed() ? await ask(`/api/v1/jobs/${encodeURIComponent(key)}`) : fromSnapshot(key);
  } catch (error) {
    if (error.status !== 503) told = fromSnapshot(key);
    if (error.status !== 404) why = error.message;
    again = told !== null || !error.status || error.status === 503;
  }
  if (mine !== opened) return;
  if (told) { mine.document = told; drawJob(); }
  else if (!mine.document) $("one-why").textContent = why;
  if (again && (!mine.document || mine.document.live || mine.document.job.state === "running")) jobTimer = setTimeout(one, JOB_MS);
}

/* What the page shows to everybody about a job that it draws now: all there is where no history may be asked. */
function fromSnapshot(key) {
  const job = last?.jobs.find(one => one.job === key && isJob(one));
  if (!job || job.energy_j === null) return null;
  const { user = "", account = "", partition = "", namespace = "", qos = "", cluster = "", name = "", pod = "", ...labels } = job.labels;
  const end = job.ended_s ?? last.time_s, elapsed = isKnown(job.started_s) ? end - job.started_s : null;
  const told = steps("jobs"), watts = told.values.get(key) ?? [], held = job.active_s === null ? null : job.active_s + job.held_s;
  const models = new Map(last.gpus.map(gpu => [gpu.uuid, gpu.model]));
  return { earlier: [], simulated: last.simulated, live: true, job: {
    job: key, user, account, partition, namespace, qos, cluster, name: name || pod, labels, hosts: [last.host], hosts_expected: null,
    state: job.ended_s === null ? "running" : "complete", boundary: last.gpus[0]?.boundary ?? "board", start_s: job.started_s, end_s: job.ended_s, elapsed_s: elapsed,
    energy_j: job.energy_j, static_j: job.static_j, dynamic_j: job.dynamic_j, sigma_j: job.sigma_j, active_s: job.active_s, held_s: job.held_s,
    work: job.work, waiting_j: job.waiting_j, mean_w: elapsed > 0 ? job.energy_j / elapsed : null, peak_w: null, held_idle: held > 0 ? job.held_s / held : null, method: job.method, flags: [], watts: job.watts, watts_sigma: job.watts_sigma,
    processes: job.processes, power: told.from.map((from, i) => [from, told.to[i], watts[i] ?? null]).filter(([, , w], i, all) => w !== null || all.slice(0, i).some(step => step[2] !== null)),
    by_gpu: Object.entries(job.gpus).map(([gpu, part]) => ({
      host: last.host, gpu, model: models.get(gpu) ?? "", energy_j: part.static_j + part.dynamic_j, ...part, sigma_j: null, active_s: null, held_s: null, peak_w: null })),
  } };
}

function gpuName(uuid) {
  const gpu = last?.gpus.find(one => one.uuid === uuid);
  return gpu ? lines(`GPU ${gpu.gpu}`, shortened(uuid, 20), uuid) : make("span", { title: uuid }, shortened(uuid, 20));
}

const gpusTable = new Table($("one-gpus"), [
  { title: "GPU", value: one => `${one.host} ${one.gpu}`, cell: one => gpuName(one.gpu) },
  { title: "Host", value: one => one.host, cell: one => one.host, kind: "who" },
  { title: "Model", value: one => one.model, cell: one => one.model, kind: "who" },
  { title: "Energy", value: one => number(one.energy_j), cell: one => energyCell(number(one.energy_j), one.sigma_j), kind: "n" },
  { title: "Of the job", value: one => number(one.energy_j), kind: "wide", help: "static and dynamic", cell: one => {
    const all = number(opened.document.job.energy_j);
    return meter([[number(one.static_j) / all, "--static"], [number(one.dynamic_j) / all, "--accent"]], percent(number(one.energy_j) / all, 0));
  } },
  { title: "Peak", value: one => one.peak_w, cell: one => powerCell(one.peak_w, one.watts, one.watts_sigma), kind: "n" },
  { title: "GPU time", value: one => one.active_s, cell: one => hours(one.active_s === null ? null : one.active_s + one.held_s), kind: "n" },
  { title: "Held idle", value: one => one.held_s, cell: one => hours(one.held_s), kind: "n" },
]);

function fact(name, value) {
  return value ? [make("div", {}, make("dt", {}, name), make("dd", {}, value))] : [];
}

/* What of this host's node beyond its GPUs may be the job's: an estimate, beside the bill. */
function estimateText(key) {
  const estimate = last?.jobs.find(one => one.job === key)?.node_energy_estimate;
  if (!estimate) return "";
  const parts = Object.entries(estimate.parts_j).map(([part, joules]) => `${PARTS[part] ?? part} ${wattHours(joules)}`);
  return `${wattHours(estimate.energy_j)} on this host: ${parts.join(", ")}. An estimate, in no bill`;
}

function drawJob() {
  const job = opened.document.job, energy = Number(job.energy_j), dynamic = Number(job.dynamic_j);
  const hosts = job.hosts_expected !== null && job.hosts_expected !== job.hosts.length ? `${job.hosts.length} of ${job.hosts_expected}: ` : "";
  $("one-title").textContent = job.name ? `${job.job} · ${job.name}` : job.job;
  $("one-why").textContent = `${STATES[job.state] ?? job.state}; energy ${BOUNDARY[job.boundary] ?? `at the ${job.boundary}`}, ± is two standard deviations`
    + (opened.document.live ? ". This is what the page shows to everybody; the history of jobs has more, for those who may ask it" : "")
    + (opened.document.simulated ? `. ${SIMULATED}` : "");
  $("one-tiles").replaceChildren(
    tile("Energy", wattHours(energy), [doubt(job.sigma_j), quantity(energy, "J"), ...worth(energy, last?.prices)].filter(Boolean).join(" · ")),
    tile("Mean power", quantity(job.mean_w, "W"), "of all its GPUs"),
    tile("Peak", quantity(job.peak_w, "W"), "highest reading of one GPU"),
    tile("Held idle", percent(job.held_idle, 0), "of its GPU time"),
    tile("Dynamic", energy > 0 ? percent(dynamic / energy, 0) : "–", `${wattHours(dynamic)} above idle power`));
  $("one-facts").replaceChildren(...[
    fact("User", job.user), fact("Account", job.account), fact("Partition", job.partition), fact("Namespace", job.namespace),
    fact("Quality of service", job.qos), fact("Cluster", job.cluster), fact("Hosts", hosts + some(job.hosts, 8)), fact("Start", when(job.start_s)),
    fact("End", job.end_s === null ? "" : when(job.end_s)), fact("Elapsed", hours(job.elapsed_s)),
    fact("GPU time", `${hours(job.active_s)} active, ${hours(job.held_s)} held idle`), fact("Split", job.method),
    fact("Work", workText(job.work)), fact("Without a request", isKnown(number(job.waiting_j)) && energy > 0 ? `${percent(number(job.waiting_j) / energy)} of the energy` : ""),
    fact("At full activity", isKnown(job.watts) ? `${withDoubt(job.watts, job.watts_sigma, "W")} above idle, per GPU (estimate)` : ""),
    fact("Node beyond GPUs", estimateText(job.job)),
    fact("Processes", (job.processes ?? []).map(one => one.pid).join(", ")),
    ...Object.entries(job.labels).map(([name, value]) => fact(name, value)),
  ].flat());
  $("one-flags").replaceChildren(...job.flags.map(flag => make("li", {}, FLAGS[flag] ?? flag.replaceAll("_", " "))));
  gpusTable.show(job.by_gpu);
  const before = opened.document.earlier;
  $("one-earlier").hidden = !before.length;
  $("one-runs").replaceChildren(...before.map(run => make("li", {}, `${when(run.start_s)} to ${when(run.end_s)}: ${wattHours(number(run.energy_j))} (${quantity(number(run.energy_j), "J")})`)));
  $("one-body").hidden = false;
  drawPower(job);
}

function drawPower(job) {
  const { time, values: [values] } = staircase(job.power.map(step => step[0]), job.power.map(step => step[1]), [job.power.map(step => step[2])]);
  power.wait(job.state === "running" ? "The first steps appear within a minute." : "What it drew when is not known.");
  power.show(time, [{ key: "power", label: "power", color: css("--c0"), values }]);
  $("one-hole").hidden = !job.power.some(([, , watts]) => watts === null);
}

$("ask").addEventListener("submit", event => {
  event.preventDefault();
  const form = new FormData($("ask"));
  location.hash = hash({ by: form.get("value").trim() && form.get("by"), value: form.get("value").trim(), state: form.get("state"), since: form.get("since") });
});
for (const name of ["state", "since"]) $("ask").elements[name].addEventListener("change", () => $("ask").requestSubmit());
$("older").addEventListener("click", () => list(older));
function close_job(event) {
  event.preventDefault();
  const key = opened?.key;
  location.hash = hash({ open: "" });
  ([...$("found").querySelectorAll("a")].find(link => link.title === key) ?? [...$("jobs").querySelectorAll("a")].find(link => link.title === key) ?? $("h-table-jobs")).focus();
}
$("one-close").addEventListener("click", close_job);
document.addEventListener("keydown", event => { if (event.key === "Escape" && opened && event.target.type !== "search") close_job(event); });

let shown_query = null;
function follow_hash() {
  const of = wanted(), form = $("ask").elements;
  form.by.value = of.get("by") || "job";
  for (const name of ["value", "state", "since"]) form[name].value = of.get(name) || "";
  if (shown_query !== query("")) { shown_query = query(""); found = []; older = ""; list(); sum(); }
  else drawFound(); /* its links hold what is asked for */
  one();
}
addEventListener("hashchange", follow_hash);
document.addEventListener("theme", () => { if (opened?.document) drawJob(); });
document.addEventListener("power", () => { if (opened && (opened.document?.live || !opened.document)) one(); });
follow_hash();

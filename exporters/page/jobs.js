"use strict";
/* Jobs, running and ended, and one of them: asks /api/v1/jobs. What is asked for stands in the address, so that it can be
   sent to somebody and the browser's back button works. Names are user text: they reach the page as text only. */

const LIST_MS = 15000, JOB_MS = 10000, PAGE = 50;
const BOUNDARY = { board: "at the GPU boards, without processors, memory and fans of the node", module: "of the whole modules, processors included" };
const FLAGS = {
  requeued: "it was requeued and began again", end_unknown: "when it ended is not known",
  lower_bound: "hosts are missing, so this is a lower bound", clock_skew: "the clock of a host was wrong, so its times are, too",
};
const SIMULATED = "SIMULATED DATA, all of it or a part: no GPU drew it.";
const STATES = { running: "running", complete: "ended", waiting: "ended, hosts are still to tell", incomplete: "ended, hosts are missing" };
const power = new Chart($("chart-one"), "Power while it ran", { stacked: false, stepped: true });
let found = [], older = "", opened = null, listTimer = null, jobTimer = null, asked = 0;

const wanted = () => new URLSearchParams(location.hash.slice(1));
const hash = (changes) => {
  const next = wanted();
  for (const [name, value] of Object.entries(changes)) {
    if (value) next.set(name, value);
    else next.delete(name);
  }
  return `#${next}`;
};
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

function refused(error) {
  $("all").hidden = error.status === 404; /* an agent that keeps no history */
  for (const part of ["all-what", "ask", "found-frame", "older"]) $(part).hidden = error.status === 403;
  const note = $("all-note");
  if (error.status === 403) {
    note.replaceChildren("Ended jobs, and whose they are, are not for everybody. To see them here, the server needs users or client certificates (",
      make("code", {}, "--web.config.file"), "), and you must be one of its ", make("code", {}, "tcp_users"), ". On the host itself ",
      make("code", {}, "wattshed jobs"), " shows your own.");
  } else {
    note.textContent = error.message;
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
    const page = await ask(query(more));
    if (mine !== asked) return; /* something else was asked for meanwhile */
    for (const part of ["all", "all-what", "ask"]) $(part).hidden = false;
    const known = new Set(more ? found.map(place) : []);
    found = [...(more ? found : []), ...page.jobs.filter(job => !known.has(place(job)))];
    older = page.cursor;
    $("older").hidden = !older;
    $("found-frame").hidden = !found.length;
    $("all-note").textContent = !found.length ? "No such job is known." : page.simulated ? SIMULATED : "";
    drawFound();
  } catch (error) {
    if (mine !== asked) return;
    refused(error);
    if (error.status === 403 || error.status === 404) return; /* asking again changes nothing */
  }
  if (found.length <= PAGE) listTimer = setTimeout(list, LIST_MS);
}

function drawFound() {
  const focused = document.activeElement?.dataset?.place;
  $("found").tBodies[0].replaceChildren(...found.map(job => {
    const link = make("a", { href: hash({ open: job.job }) }, job.job);
    link.dataset.place = place(job);
    return make("tr", {},
      make("th", { scope: "row", title: job.job }, link),
      cell([who(job), job.name].filter(Boolean).join(" · "), "who"), cell(ended(job), job.state === "running" ? "good" : ""),
      cell(hours(job.elapsed_s), "n"), cell(job.gpus === null ? "–" : String(job.gpus), "n"), cell(quantity(Number(job.energy_j), "J"), "n"),
      cell(quantity(job.sigma_j, "J"), "n"), cell(quantity(job.mean_w, "W"), "n"), cell(job.held_idle === null ? "–" : percent(job.held_idle, 0), "n"));
  }));
  if (focused) [...$("found").querySelectorAll("a")].find(link => link.dataset.place === focused)?.focus();
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
  try {
    mine.document = await ask(`/api/v1/jobs/${encodeURIComponent(key)}`);
    if (mine === opened) drawJob();
  } catch (error) {
    if (mine !== opened) return;
    if (!mine.document) $("one-why").textContent = error.status === 404 ? "No such job is known here, or it is not yours to see." : error.message;
    if (error.status && error.status !== 503) return;
  }
  if (mine === opened && (!mine.document || mine.document.job.state === "running")) jobTimer = setTimeout(one, JOB_MS);
}

function fact(name, value) {
  return value ? [make("div", {}, make("dt", {}, name), make("dd", {}, value))] : [];
}

function drawJob() {
  const job = opened.document.job, energy = Number(job.energy_j), dynamic = Number(job.dynamic_j);
  const hosts = job.hosts_expected !== null && job.hosts_expected !== job.hosts.length ? `${job.hosts.length} of ${job.hosts_expected}: ` : "";
  $("one-title").textContent = job.name ? `${job.job} · ${job.name}` : job.job;
  $("one-why").textContent = `${STATES[job.state] ?? job.state}; energy ${BOUNDARY[job.boundary] ?? `at the ${job.boundary}`}, ± is one standard deviation`
    + (opened.document.simulated ? `. ${SIMULATED}` : "");
  $("one-tiles").replaceChildren(
    tile("Energy", quantity(energy, "J"), `± ${quantity(job.sigma_j, "J")}; ${(energy / 3.6e6).toPrecision(4)} kWh`),
    tile("Mean power", quantity(job.mean_w, "W"), "of all its GPUs"),
    tile("Peak", quantity(job.peak_w, "W"), "highest reading of one GPU"),
    tile("Held idle", job.held_idle === null ? "–" : percent(job.held_idle, 0), "of its GPU time"),
    tile("Dynamic", energy > 0 ? percent(dynamic / energy, 0) : "–", `${quantity(dynamic, "J")} above idle power`));
  $("one-facts").replaceChildren(...[
    fact("User", job.user), fact("Account", job.account), fact("Partition", job.partition), fact("Namespace", job.namespace),
    fact("Quality of service", job.qos), fact("Cluster", job.cluster), fact("Hosts", hosts + some(job.hosts, 8)), fact("Start", when(job.start_s)),
    fact("End", job.end_s === null ? "" : when(job.end_s)), fact("Elapsed", hours(job.elapsed_s)),
    fact("GPU time", `${hours(job.active_s)} active, ${hours(job.held_s)} held idle`), fact("Split", job.method),
    ...Object.entries(job.labels).map(([name, value]) => fact(name, value)),
  ].flat());
  $("one-flags").replaceChildren(...job.flags.map(flag => make("li", {}, FLAGS[flag] ?? flag.replaceAll("_", " "))));
  const gpu = one => make("tr", {},
    make("th", { scope: "row", title: one.gpu }, one.host), cell(one.gpu, "who"), cell(one.model), cell(quantity(Number(one.energy_j), "J"), "n"),
    cell(quantity(one.sigma_j, "J"), "n"), cell(meter([[Number(one.static_j) / energy, "--static"], [Number(one.dynamic_j) / energy, "--accent"]], percent(Number(one.energy_j) / energy, 0))),
    cell(quantity(one.peak_w, "W"), "n"), cell(hours(one.active_s + one.held_s), "n"), cell(hours(one.held_s), "n"));
  $("one-gpus").tBodies[0].replaceChildren(...job.by_gpu.map(gpu));
  const before = opened.document.earlier;
  $("one-earlier").hidden = !before.length;
  $("one-runs").replaceChildren(...before.map(run => make("li", {}, `${when(run.start_s)} to ${when(run.end_s)}: ${quantity(Number(run.energy_j), "J")}`)));
  $("one-body").hidden = false;
  drawPower(job);
}

/* Each stretch begins a step. The last one before a hole, and the last of all, has an end of its own. */
function drawPower(job) {
  const time = [], values = [];
  job.power.forEach(([from, to, watts], i) => {
    const next = job.power[i + 1];
    time.push(from); values.push(watts);
    if (watts === null || (next && next[0] <= to && next[2] !== null)) return;
    time.push(next ? to - (to - from) / 1000 : to); values.push(watts);
    if (next && next[0] > to) { time.push(to); values.push(null); }
  });
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
  ([...$("found").querySelectorAll("a")].find(link => link.textContent === key) ?? $("h-all")).focus();
}
$("one-close").addEventListener("click", close_job);
document.addEventListener("keydown", event => { if (event.key === "Escape" && opened && event.target.type !== "search") close_job(event); });

let shown_query = null;
function follow_hash() {
  const of = wanted(), form = $("ask").elements;
  form.by.value = of.get("by") || "job";
  for (const name of ["value", "state", "since"]) form[name].value = of.get(name) || "";
  if (shown_query !== query("")) { shown_query = query(""); found = []; older = ""; list(); }
  else drawFound(); /* its links hold what is asked for */
  one();
}
addEventListener("hashchange", follow_hash);
document.addEventListener("theme", () => { if (opened?.document) drawJob(); });
follow_hash();

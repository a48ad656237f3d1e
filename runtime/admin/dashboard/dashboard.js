// The dashboard: asks the admin interface, follows its streams, and draws what they say.
import { ago, bytes, chart, clock, colour, counted, h, legend, millis, number, spark } from "/draw.js";

const VIEWS = ["groups", "traffic", "swaps", "graph", "logs"];
const EVERY = 2000, SAMPLES = 150, WINDOW = 15, EVENTS = 400, LINES = 2000;
const STAGES = ["detect", "read", "link", "compile", "instantiate", "load", "commit"];
const $ = (id) => document.getElementById(id);

const state = {
  token: null, view: "groups", status: null, can: new Set(), samples: [], events: [], fresh: new Set(),
  lines: [], following: true, drawn: null, connected: false,
};

// --- talking to the server ---

class Unauthorized extends Error {}

async function ask(path, body) {
  const headers = {};
  if (state.token) headers.authorization = `Bearer ${state.token}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const given = { headers, cache: "no-store" };
  if (body !== undefined) Object.assign(given, { method: "POST", body: JSON.stringify(body) });
  const response = await fetch(path, given);
  if (response.status === 401) throw new Unauthorized();
  if (!response.ok) {
    const said = await response.json().catch(() => null);
    const diagnostic = said?.diagnostics?.[0];
    throw new Error(diagnostic ? [diagnostic.message, diagnostic.help].filter(Boolean).join(" – ") : response.statusText);
  }
  return response;
}

const json = async (path, body) => (await ask(path, body)).json();

// Server-sent events by fetch, since EventSource cannot send the token.
async function follow(path, take) {
  for (let first = true; ; first = false) {
    try {
      const response = await ask(first ? path : path.replace(/last=\d+/, "last=0"));
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const parts = (rest + value).split("\n\n");
        rest = parts.pop();
        const found = parts.filter((part) => part.startsWith("data:")).map((part) => JSON.parse(part.slice(5)));
        if (found.length) take(found);
      }
    } catch (error) {
      if (error instanceof Unauthorized) return;
    }
    await new Promise((resume) => setTimeout(resume, 1500));
  }
}

// --- numbers ---

function parse(text) {
  const sample = { time: Date.now() / 1000, pages: new Map(), gauges: new Map() };
  const page = (labels) => {
    const key = `${labels.group}\n${labels.page}`;
    if (!sample.pages.has(key)) {
      sample.pages.set(key, { group: labels.group, page: labels.page, all: 0, errors: 0, buckets: [] });
    }
    return sample.pages.get(key);
  };
  for (const line of text.split("\n")) {
    const found = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!found) continue;
    const [, name, inside = "", value] = found;
    const labels = Object.fromEntries([...inside.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map((m) => [m[1], m[2]]));
    if (name === "wasmhost_requests_total") {
      page(labels).all += +value;
      if (labels.status === "5xx") page(labels).errors += +value;
    } else if (name === "wasmhost_request_duration_seconds_bucket") {
      page(labels).buckets.push([labels.le === "+Inf" ? Infinity : +labels.le, +value]);
    } else if (name.startsWith("wasmhost_") || name.startsWith("process_")) {
      sample.gauges.set(labels.group ? `${name} ${labels.group}` : name, +value);
    }
  }
  return sample;
}

// What pages did between two samples; those of a group where one is named, or of one page.
function between(before, now, is = () => true) {
  const seconds = Math.max(now.time - before.time, 0.001);
  let all = 0, errors = 0;
  const buckets = new Map();
  for (const [key, page] of now.pages) {
    if (!is(page)) continue;
    const old = before.pages.get(key);
    const reset = !old || old.all > page.all;
    all += page.all - (reset ? 0 : old.all);
    errors += page.errors - (reset ? 0 : old.errors);
    page.buckets.forEach(([le, count], at) => {
      buckets.set(le, (buckets.get(le) ?? 0) + count - (reset ? 0 : old.buckets[at]?.[1] ?? 0));
    });
  }
  return { rate: all / seconds, errors: errors / seconds, at: (part) => percentile([...buckets], part) };
}

function percentile(buckets, part) {
  const total = buckets.length ? buckets[buckets.length - 1][1] : 0;
  if (!total) return null;
  let [below, counted] = [0, 0];
  for (const [le, count] of buckets) {
    if (count >= part * total) {
      if (le === Infinity) return below;
      return below + (le - below) * ((part * total - counted) / Math.max(count - counted, 1e-9));
    }
    [below, counted] = [le, count];
  }
  return below;
}

function lately(is) {
  const { samples } = state;
  if (samples.length < 2) return null;
  return between(samples[Math.max(0, samples.length - 1 - WINDOW)], samples[samples.length - 1], is);
}

function series(is) {
  return state.samples.slice(1).map((sample, at) => between(state.samples[at], sample, is));
}

const gauge = (name) => state.samples.at(-1)?.gauges.get(name);

// --- groups ---

// Only in a fleet.
function drawFleet(fleet) {
  const pill = $("fleet"), stale = fleet?.event === "stale";
  pill.hidden = !fleet;
  pill.textContent = stale ? "fleet: stale" : `fleet: commit ${fleet?.number}`;
  pill.title = (stale ? fleet.reason : fleet?.release) ?? "";
  pill.className = `pill ${stale ? "warn" : "good"}`;
}

function drawState() {
  const pill = $("state"), { status } = state;
  const [word, kind] = !state.connected ? ["not reachable", "bad"]
    : status?.draining ? ["ending", "warn"] : status?.frozen ? ["frozen", "warn"] : ["watching", "good"];
  pill.textContent = word;
  pill.className = `pill ${kind}`;
  drawFleet(status?.fleet);
  $("freeze").textContent = status?.frozen ? "Unfreeze" : "Freeze";
  $("where").textContent = status?.url ?? "";
  $("foot").textContent = status ? `wasmhost ${status.version} · pid ${status.pid}` : "";
  document.title = `${Object.values(status?.groups ?? {}).some((g) => g.rejected) ? "● " : ""}wasmhost ${status?.url ?? ""}`;
}

function drawTotals() {
  const now = lately();
  const sum = (name) => Object.keys(state.status?.groups ?? {}).reduce((all, group) => all + (gauge(`${name} ${group}`) ?? 0), 0);
  const [memory, unit] = bytes(gauge("wasmhost_guest_memory_bytes") ?? 0);
  const [own, ownUnit] = bytes(gauge("process_resident_memory_bytes") ?? 0);
  const total = (name, value, unit) => h("div", { class: "total" }, h("b", {}, value, unit ? h("small", {}, unit) : null), h("span", {}, name));
  const took = (part) => { const text = millis(now?.at(part)); return text.split(" "); };
  $("totals").replaceChildren(
    total("requests per second", number(now?.rate)),
    total("half are answered in", ...took(0.5)),
    total("99 of 100 in", ...took(0.99)),
    total("errors per second", number(now?.errors)),
    total("in flight", number(sum("wasmhost_requests_in_flight"), 0)),
    total("memory of guests", memory, unit),
    total("of the process", own, ownUnit));
}

function drawCards() {
  const groups = Object.entries(state.status?.groups ?? {});
  const open = new Set([...document.querySelectorAll("#cards details[open]")].map((details) => details.dataset.group));
  const focused = document.activeElement?.id;
  $("cards").replaceChildren(...groups.map(([name, group]) => card(name, group, open.has(name))));
  if (focused && document.activeElement?.id !== focused) $(focused)?.focus();
  if (!groups.length) $("cards").append(h("p", { class: "empty" }, "No groups yet."));
}

function card(name, group, open) {
  const mine = (page) => page.group === name;
  const now = lately(mine), rejected = group.rejected;
  const down = group.generation == null;
  const [memory, unit] = bytes(group.memory ?? 0);
  const fact = (term, value, kind) => h("div", { class: kind ?? "" }, h("dt", {}, term), h("dd", {}, value));
  const [word, kind] = down ? ["down", "bad"] : rejected ? ["newest refused", "bad"] : group.reverted ? ["reverted", "bad"]
    : group.pinned ? ["pinned", "warn"] : group.on_probation ? ["on probation", "warn"]
    : group.draining.length ? ["draining", "warn"] : ["serving", "good"];
  const button = (id, text, act) => h("button", { type: "button", id: `${id}-${name}`, onclick: act }, text);
  return h("article", { class: `card ${state.fresh.has(name) ? "fresh" : ""}`, "data-group": name },
    h("div", { class: "top" },
      h("h2", {}, name, down ? "" : h("em", {}, `@${group.generation}`)), h("span", { class: `pill ${kind}` }, word)),
    h("div", { class: "traffic" }, spark(series(mine).slice(-60).map((part) => part.rate)),
      h("dl", { class: "facts" },
        fact("req/s", number(now?.rate)), fact("p50", millis(now?.at(0.5))), fact("p99", millis(now?.at(0.99))),
        fact("errors/s", number(now?.errors), now?.errors > 0 ? "err" : ""),
        fact("in flight", group.in_flight), fact("queued", group.queued), fact("memory", `${memory} ${unit}`),
        fact("files", group.files))),
    rejected ? refusal(rejected) : null,
    group.reverted ? h("div", { class: "refused" }, h("h3", {}, `Reverted from @${group.reverted.from} ${ago(group.reverted.time)}`),
      h("p", { class: "diagnostic" }, group.reverted.reason)) : null,
    group.trapped ? h("div", { class: "refused" }, h("h3", {}, `Trapped ${ago(group.trapped.time)}`),
      h("p", { class: "diagnostic" }, h("code", {}, group.trapped.component), " ", group.trapped.message)) : null,
    h("div", { class: "last" }, lastSwap(group),
      h("div", { class: "chips" },
        down ? null : h("span", { class: "chip live" }, `@${group.generation} serves`),
        group.draining.map((old) => h("span", { class: "chip old" }, `@${old.generation} ends with ${old.in_flight}`)))),
    h("details", { open, "data-group": name }, h("summary", {}, `${counted(group.components.length, "component")}, ${counted(group.routes.length, "route")}`),
      h("ul", {}, group.routes.map((route) => h("li", {}, h("span", {}, route.pattern), h("span", {}, route.component))))),
    h("div", { class: "foot" },
      button("swap", "Swap", () => order("Swap", name, "Serve what lies on disk now?", "/v1/swap", { group: name })),
      state.can.has("/v1/rollback") ? button("rollback", "Roll back", () =>
        order("Roll back", name, "Serve the content before this one again?", "/v1/rollback", { group: name })) : null,
      state.can.has("/v1/pin") ? group.pinned
        ? button("pin", "Unpin", () => order("Unpin", name, "Follow what lies on disk again?", "/v1/unpin", { group: name }))
        : button("pin", "Pin", () => order("Pin", name, "Keep what serves, whatever lies on disk?", "/v1/pin", { group: name })) : null));
}

function lastSwap(group) {
  const swapped = group.swapped;
  if (!swapped) return h("span", {}, group.ready ? `Serves since ${ago(group.ready)}, at the server's start` : "Not served yet");
  return h("span", {}, `Swapped ${ago(swapped.time)} in ${number(swapped.ms.total)} ms`, causes(swapped.causes));
}

function causes(all) {
  const sign = { added: "+", changed: "~", removed: "−" };
  const shown = all.slice(0, 8).map((cause) => {
    const name = cause.component ?? cause.file ?? Object.values(cause).find((value) => value !== cause.change);
    return h("span", { class: `chip ${cause.change}`, title: cause.change }, h("i", {}, sign[cause.change]), name);
  });
  if (all.length > 8) shown.push(h("span", { class: "chip" }, `and ${all.length - 8} more`));
  return h("div", { class: "chips" }, shown);
}

function refusal(event) {
  const still = event.kept != null ? `, @${event.kept} goes on` : "";
  return h("div", { class: "refused" }, h("h3", {}, `Refused ${ago(event.time)}${still}`), event.diagnostics.map(diagnostic));
}

function diagnostic({ code, message, file, help }) {
  return h("p", { class: "diagnostic" }, h("code", { class: "code" }, code),
    h("span", { class: "message" }, message), file ? h("span", { class: "file" }, file) : null,
    help ? h("span", { class: "help" }, help) : null);
}

// --- traffic ---

function drawTraffic() {
  const times = state.samples.slice(1).map((sample) => sample.time);
  const names = Object.keys(state.status?.groups ?? {});
  const rates = names.map((name, at) => ({
    name, colour: colour(at), values: series((page) => page.group === name).map((part) => part.rate),
  }));
  const marks = state.events.filter((event) => event.event === "swapped")
    .map((event) => ({ time: new Date(event.time) / 1000, name: `${event.group}@${event.generation}` }));
  // Over some samples: single ones jump.
  const smooth = (part) => state.samples.slice(1).map((sample, at) => {
    const value = between(state.samples[Math.max(0, at - 3)], sample).at(part);
    return value == null ? null : value * 1000;
  });
  const latencies = [["p50", 0.5, 2], ["p90", 0.9, 0], ["p99", 0.99, 1]]
    .map(([name, part, at]) => ({ name, colour: colour(at), values: smooth(part) }));
  $("rate-legend").replaceChildren(...legend([...rates, { name: "a swap", colour: "var(--violet)" }]));
  $("rate-chart").replaceChildren(chart(times, rates, marks));
  $("latency-legend").replaceChildren(...legend(latencies));
  $("latency-chart").replaceChildren(chart(times, latencies, marks));
  const pages = [...(state.samples.at(-1)?.pages.values() ?? [])];
  const rows = pages.map((page) => ({ page, now: lately((other) => other.group === page.group && other.page === page.page) }));
  rows.sort((a, b) => (b.now?.rate ?? 0) - (a.now?.rate ?? 0) || a.page.page.localeCompare(b.page.page));
  $("pages").replaceChildren(...rows.map(({ page, now }) => h("tr", {}, h("td", {}, page.page), h("td", {}, page.group),
    ...[number(now?.rate), millis(now?.at(0.5)), millis(now?.at(0.9)), millis(now?.at(0.99))].map((text) => h("td", { class: "n" }, text)),
    h("td", { class: `n ${now?.errors > 0 ? "bad" : ""}` }, number(now?.errors)), h("td", { class: "n" }, page.all.toLocaleString("en")))));
}

// --- swaps ---

function drawTimeline() {
  options($("swap-group"), [...new Set(state.events.map((event) => event.group).filter(Boolean))]);
  options($("swap-event"), [...new Set(state.events.map((event) => event.event))]);
  const [group, kind] = [$("swap-group").value, $("swap-event").value];
  const shown = state.events.filter((event) => (!group || event.group === group) && (!kind || event.event === kind));
  $("timeline").replaceChildren(...shown.slice(-150).reverse().map(entry));
  if (!shown.length) $("timeline").append(h("li", { class: "empty" }, "Nothing has happened yet."));
}

function options(select, values) {
  const known = new Set([...select.options].map((option) => option.value));
  values.filter((value) => !known.has(value)).sort().forEach((value) => select.append(h("option", { value }, value)));
}

function entry(event) {
  const who = event.group ? `${event.group}${event.generation ? `@${event.generation}` : ""}` : "server";
  const head = (said) => h("div", { class: "head" }, h("strong", {}, event.event), h("span", { class: "mono" }, who),
    h("span", { class: "said" }, said), h("time", { datetime: event.time, title: event.time }, `${clock(event.time)} · ${ago(event.time)}`));
  const box = (...inside) => h("li", { class: event.event },
    h("div", { class: `event ${["rejected", "trapped", "reverted"].includes(event.event) ? "refused" : ""}` }, inside));
  switch (event.event) {
    case "swapped": return box(
      head(`${event.from ? `in the place of @${event.from}, ` : ""}${number(event.ms.total)} ms, ${event.functions_compiled} functions compiled`),
      stages(event.ms), causes(event.causes));
    case "rejected": return box(head(event.kept != null ? `@${event.kept} goes on` : ""), event.diagnostics.map(diagnostic));
    case "retired": return box(head(`after ${number(event.ms)} ms${event.aborted ? `, ${event.aborted} requests were ended` : ""}`));
    case "trapped": return box(head(event.component), h("p", { class: "diagnostic mono" }, event.message));
    case "reverted": return box(head(`to @${event.to}: ${event.reason}`));
    case "ready": return box(head(event.url),
      h("div", { class: "chips" }, event.groups.map((group) => h("span", { class: "chip" }, `${group.group}@${group.generation ?? "–"}`))));
    case "lost": return box(head(`${event.count} events are missing here`));
    default: return box(head(""));
  }
}

function stages(ms) {
  const known = STAGES.filter((stage) => ms[stage] > 0);
  const whole = known.reduce((sum, stage) => sum + ms[stage], 0);
  if (!whole) return null;
  const bar = h("div", { class: "stages", role: "img", "aria-label": "stages of the swap" }, known.map((stage) => {
    const part = h("span", { class: `s-${stage}`, title: `${stage} ${number(ms[stage], 2)} ms` });
    part.style.width = `${(ms[stage] / whole) * 100}%`;
    return part;
  }));
  return [bar, h("div", { class: "numbers" }, known.map((stage) => `${stage} ${number(ms[stage])}`).join(" · "))];
}

// --- graph ---

async function drawGraph() {
  const key = Object.entries(state.status?.groups ?? {}).map(([name, group]) => `${name}@${group.generation} ${group.rejected?.time}`).join();
  if (state.drawn === key) return;
  state.drawn = key;
  try {
    const text = await (await ask("/v1/graph?format=svg")).text();
    // The page has its own style, and takes none that is inline.
    const bare = text.replace(/<style>[^<]*<\/style>/, "");
    const picture = new DOMParser().parseFromString(bare, "image/svg+xml").documentElement;
    $("drawing").replaceChildren(document.importNode(picture, true));
  } catch (error) {
    state.drawn = null;
    fail(error);
  }
}

// --- logs ---

function takeLines(lines) {
  state.lines.push(...lines);
  state.lines.splice(0, Math.max(0, state.lines.length - LINES));
  if (state.view === "logs" && state.following) drawLines();
}

function drawLines() {
  const words = $("log-filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const level = $("log-show").value;
  const fits = (line) => (!level || line.level === level || (level === "WARN" && line.level === "ERROR"))
    && words.every((word) => JSON.stringify(line).toLowerCase().includes(word));
  const shown = state.lines.filter(fits);
  const box = $("lines");
  box.replaceChildren(...shown.slice(-600).map(logLine));
  if (!shown.length) box.append(h("p", { class: "empty" }, "No line fits."));
  $("log-count").textContent = `${shown.length} of ${state.lines.length}`;
  if (state.following) box.scrollTop = box.scrollHeight;
}

function logLine({ timestamp, level, message, target, ...rest }) {
  const more = Object.entries(rest).map(([name, value]) => `${name}=${typeof value === "object" ? JSON.stringify(value) : value}`).join(" ");
  return h("div", { class: `log ${level}` }, h("time", { title: timestamp }, timestamp ? clock(timestamp) : ""),
    h("span", { class: "level" }, level ?? ""),
    h("p", {}, message ?? "", more ? h("span", { class: "more" }, ` ${more}`) : null, h("span", { class: "more" }, `  ${target ?? ""}`)));
}

// `info,notify=error,…`: the first counts for most.
const shown = (level) => (level.includes(",") ? `${level.split(",")[0]} …` : level);

async function drawLevel() {
  const { level } = await json("/v1/log");
  const select = $("log-level");
  const wanted = ["error", "warn", "info", "debug", "trace"];
  if (!wanted.includes(level)) wanted.unshift(level);
  select.replaceChildren(...wanted.map((value) => h("option", { value, title: value, selected: value === level }, shown(value))));
}

// --- orders ---

function confirm(title, text) {
  $("confirm-title").textContent = title;
  $("confirm-text").textContent = text;
  $("confirm-yes").textContent = title.split(" ")[0] === "Roll" ? "Roll back" : title.split(" ")[0];
  const dialog = $("confirm");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

async function order(verb, what, text, path, body) {
  if (!await confirm(`${verb} ${what}`, text)) return;
  try {
    const answer = await json(path, body);
    const refused = Object.entries(answer.groups ?? {}).filter(([, group]) => group.rejected).map(([name]) => name);
    if (refused.length) toast(`${refused.join(", ")}: refused, see the diagnostics`, true);
    else toast(`${verb} ${what}: done`);
    await refresh();
  } catch (error) {
    fail(error);
  }
}

function toast(text, bad = false) {
  const shown = h("div", { class: `toast ${bad ? "bad" : ""}` }, text);
  $("toasts").append(shown);
  setTimeout(() => shown.remove(), 6000);
}

function fail(error) {
  if (error instanceof Unauthorized) login();
  else toast(error.message, true);
}

// --- the whole ---

function draw() {
  drawState();
  if (state.view === "groups") { drawTotals(); drawCards(); }
  if (state.view === "traffic") drawTraffic();
  if (state.view === "swaps") drawTimeline();
  if (state.view === "graph") drawGraph();
}

function show() {
  const wanted = location.hash.slice(1);
  state.view = VIEWS.includes(wanted) ? wanted : "groups";
  VIEWS.forEach((view) => { $(`view-${view}`).hidden = view !== state.view; });
  document.querySelectorAll("nav a").forEach((link) => {
    if (link.hash === `#${state.view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  draw();
  if (state.view === "logs") { drawLines(); drawLevel().catch(fail); }
}

async function refresh() {
  try {
    const [status, metrics] = await Promise.all([json("/v1/status"), ask("/metrics").then((answer) => answer.text())]);
    state.status = status;
    state.samples.push(parse(metrics));
    state.samples.splice(0, Math.max(0, state.samples.length - SAMPLES));
    state.connected = true;
  } catch (error) {
    if (error instanceof Unauthorized) throw error;
    state.connected = false;
  }
  draw();
}

function takeEvents(events) {
  state.events.push(...events);
  state.events.splice(0, Math.max(0, state.events.length - EVENTS));
  for (const { event, group } of events.filter((event) => event.event === "swapped" && Date.now() - new Date(event.time) < 5000)) {
    state.fresh.add(group);
    setTimeout(() => state.fresh.delete(group), 2500);
  }
  refresh().catch(fail);
}

async function begin() {
  await refresh();
  const described = await json("/v1/openapi.json");
  state.can = new Set(Object.keys(described.paths));
  follow(`/v1/events?last=${EVENTS}`, takeEvents);
  follow("/v1/logs?last=500", takeLines);
  setInterval(() => refresh().catch(fail), EVERY);
  show();
}

function login(wrong = "") {
  $("login-wrong").textContent = wrong;
  if (!$("login").open) $("login").showModal();
}

function start() {
  begin().catch((error) => {
    if (error instanceof Unauthorized) login(state.token ? "That is not the token." : "");
    else fail(error);
  });
}

function darken(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

$("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = $("token").value;
  sessionStorage.setItem("token", state.token);
  $("login").close();
  start();
});
$("login").addEventListener("cancel", (event) => event.preventDefault());
$("swap-all").addEventListener("click", () => order("Swap", "all groups", "Serve what lies on disk now, of every group?", "/v1/swap", {}));
$("freeze").addEventListener("click", () => {
  const frozen = state.status?.frozen;
  order(frozen ? "Unfreeze" : "Freeze", "the server",
    frozen ? "Follow what lies on disk again?" : "Take no change before it is asked for?", frozen ? "/v1/unfreeze" : "/v1/freeze", {});
});
$("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme !== "dark";
  darken(dark);
  localStorage.setItem("theme", dark ? "dark" : "light");
});
["swap-group", "swap-event"].forEach((id) => $(id).addEventListener("change", drawTimeline));
$("log-filter").addEventListener("input", drawLines);
$("log-show").addEventListener("change", drawLines);
$("log-level").addEventListener("change", (event) => {
  json("/v1/log", { level: event.target.value }).then(() => toast(`logs ${event.target.value}`), fail);
});
$("log-follow").addEventListener("click", () => {
  state.following = !state.following;
  $("log-follow").setAttribute("aria-pressed", state.following);
  $("log-follow").textContent = state.following ? "Following" : "Paused";
  drawLines();
});
addEventListener("hashchange", () => { show(); $("main").focus({ preventScroll: true }); });
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input, select, textarea")) return;
  if (VIEWS[event.key - 1]) location.hash = VIEWS[event.key - 1];
  else if (event.key === "t") $("theme").click();
  else if (event.key === "/") { event.preventDefault(); location.hash = "logs"; setTimeout(() => $("log-filter").focus()); }
});

const systemDark = matchMedia("(prefers-color-scheme: dark)");
const chosen = localStorage.getItem("theme");
darken(chosen ? chosen === "dark" : systemDark.matches);
systemDark.addEventListener("change", (event) => { if (!localStorage.getItem("theme")) darken(event.matches); });
$("stage-legend").replaceChildren(...STAGES.map((stage) => h("span", {}, h("i", { class: `s-${stage}` }), stage)));
if (location.hash.startsWith("#token=")) {
  sessionStorage.setItem("token", decodeURIComponent(location.hash.slice(7)));
  history.replaceState(null, "", "/");
}
state.token = sessionStorage.getItem("token");
show();
start();

"use strict";
/* The address says what is shown: #/stream/view/what. The API is asked anew when its events say that something changed. */
const element = id => document.getElementById(id);
const SIDE = .25; // of their size, from which errors count as one-sided
const PAGE = 50, LIST_EVERY_MS = 2000, RETRY_MS = [1000, 2000, 5000, 10000];
let token = sessionStorage.getItem("tidecast-token"), shown = {}, limit = PAGE, listening = null, listed = 0, drawn = {}, chosen = null;

/* --- asking --- */

class Refused extends Error { constructor(status, text) { super(text); this.status = status; } }

async function ask(path, options = {}) {
  const headers = token ? {Authorization: "Bearer " + token} : {};
  const answer = await fetch(path, {...options, headers});
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({detail: answer.statusText}));
  if (answer.status === 401) login(token ? told.detail : "");
  throw new Refused(answer.status, told.detail);
}

const get = async path => (await ask(path)).json();
const api = (rest, query = {}) => "api/v1/streams/" + encodeURIComponent(shown.stream) + rest + "?" + new URLSearchParams(query);
const own = rest => "page/" + encodeURIComponent(shown.stream) + rest;

function login(reason) {
  element("refused").textContent = reason;
  if (!element("login").open) element("login").showModal();
}

/* --- elements --- */

function make(name, content = "", properties = {}) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...[content].flat());
  return made;
}

/* `toLeft`: of which columns; numbers stand to the right. */
function table(columns, rows, toLeft = columns.map(() => true)) {
  if (!rows.length) return make("p", "None.");
  const head = make("tr", columns.map((each, at) => make("th", each, {scope: "col", className: toLeft[at] ? "left" : ""})));
  return make("table", [make("thead", head), make("tbody", rows.map(cells => make("tr", cells)))]);
}

const left = (text, more = "") => make("td", text, {className: "left " + more});
const badge = text => make("span", text, {className: "badge " + text});
const percent = (value, signed) => {
  if (value == null) return "–";
  const text = (100 * value).toFixed(1).replace(/^-0\.0$/, "0.0").replace("-", "−");
  return (signed && value > 0 && text !== "0.0" ? "+" : "") + text + "%";
};
const number = value => value == null ? "–" : Number(value.toPrecision(5)).toLocaleString("en", {maximumSignificantDigits: 5});
const count = value => value.toLocaleString("en");
const whole = text => make("span", text, {className: "whole"});
const when = text => text ? text.replace("T", " ").replace(/(:\d\d)(:00)?(\.\d+)?(Z|\+00:00)$/, "$1") + " UTC" : "–";
/* The same in a cell of a table: it breaks between day and clock alone. */
const moment = text => { const [day, ...clock] = when(text).split(" "); return left([whole(day), " ", whole(clock.join(" "))]); };

/* --- the whole stream --- */

async function drawStream() {
  const found = await get(api(""));
  const letters = Object.values(found.dead_letters).reduce((sum, each) => sum + each, 0);
  const [day, clock] = when(found.newest_reading).split(" ");
  const cards = [
    [count(found.series) + (found.is_full ? "+" : ""), "series" + (found.statuses.silent ? `, ${count(found.statuses.silent)} silent` : "")],
    [percent(found.coverage), `in the ${percent(found.interval).replace(".0", "")} interval`],
    [percent(found.skill, true), "skill, against naive"],
    [percent(found.fallback_share), "answered by no model"],
    [count(found.drifting), "series in drift"],
    [count(letters), "dead letters"],
    [day === "–" ? day : clock, ["newest reading", ...(clock ? [", ", whole(`${day} UTC`)] : [])]],
  ];
  element("cards").replaceChildren(...cards.map(([value, what]) => make("div", [make("b", value), make("span", what)], {className: "card"})));
  document.title = "tidecast · " + shown.stream;
}

async function drawList() {
  listed = Date.now();
  const query = {search: element("search").value, sort: element("sort").value, limit};
  if (element("status").value) query.status = element("status").value;
  const found = await get(api("/series", query));
  const filtered = query.search || query.status;
  element("found").textContent = found.total ? `${count(found.total)} found` + (found.total > limit ? `, ${limit} shown` : "")
    : filtered ? "Nothing is like that." : "No reading has come yet.";
  element("more").hidden = found.total <= limit;
  element("series-rows").replaceChildren(...found.series.map(seriesRow));
  if (!shown.what && found.series.length) { chosen = found.series[0].series_id; await drawDetail(); }
}

function seriesRow(each) {
  const link = make("a", each.series_id, {href: address("series", each.series_id), title: each.series_id});
  const row = make("tr", [
    make("th", link, {scope: "row"}),
    left(badge(each.drift === "drift" ? "drift" : each.status)),
    make("td", number(each.last_value)),
    make("td", percent(each.coverage)),
    make("td", percent(each.skill, true), {className: each.skill == null ? "" : each.skill > 0 ? "good" : "poor"}),
  ]);
  if (each.series_id === chosen) row.setAttribute("aria-current", "true");
  return row;
}

/* --- one series --- */

async function drawDetail() {
  element("detail").hidden = !chosen;
  if (!chosen) return;
  const asked = chosen;
  let found;
  try {
    found = await get(own("/series") + "?" + new URLSearchParams({series_id: asked}));
  } catch (error) {
    if (error.status !== 404) throw error;
    element("detail-title").textContent = asked;
    element("facts").textContent = error.message;
    return;
  }
  if (asked !== chosen) return;
  const facts = found.facts;
  element("detail-title").textContent = facts.series_id;
  element("facts").replaceChildren(badge(facts.status), " " + sentence(facts, found));
  plot("fan", found.fan, found.fan.data.length > 1 || facts.last_tick);
  element("fan").setAttribute("aria-label", "Values and forecasts of " + facts.series_id + ". " + sentence(facts, found));
  drawSteps(found.forecast);
  const scores = found.over_time, said = `Now ${percent(scores.coverage)} inside the widest interval, skill ${percent(scores.skill, true)}.`;
  element("scores-said").textContent = scores.coverage == null ? "Nothing has been scored yet." : said;
  plot("scores", scores.figure, scores.points > 1);
  element("own-drift").replaceChildren(driftTable(found.drift, false));
  for (const row of element("series-rows").children) {
    const current = row.querySelector("a").textContent === chosen;
    if (current) row.setAttribute("aria-current", "true"); else row.removeAttribute("aria-current");
  }
}

function sentence(facts, found) {
  const parts = [];
  if (facts.last_tick) parts.push(`last value ${number(facts.last_value)} at ${when(facts.last_tick)}`);
  const forecast = found.forecast;
  if (forecast) {
    const middle = forecast.quantile_levels.reduce((best, level, at, all) => Math.abs(level - .5) < Math.abs(all[best] - .5) ? at : best, 0);
    const ends = [forecast.quantiles[0][0], forecast.quantiles.at(-1)[0]];
    const by = forecast.model ? " by " + forecast.model.replaceAll("_", " ") : "";
    parts.push(`next step ${number(forecast.quantiles[middle][0])} (${number(ends[0])} to ${number(ends[1])})${by}`);
    if (forecast.reason) parts.push("because: " + forecast.reason.replaceAll("_", " "));
  } else if (!found.trouble) parts.push("no forecast yet");
  if (found.earlier_origin) parts.push(`grey: the forecast of ${when(found.earlier_origin)}`);
  if (found.trouble) parts.push(found.trouble);
  return parts.join("; ");
}

function drawSteps(forecast) {
  if (!forecast || !element("steps").closest("details").open) return element("steps").replaceChildren();
  const origin = Date.parse(forecast.origin);
  element("steps-head").replaceChildren(make("tr", ["time", ...forecast.quantile_levels].map(each => make("th", String(each), {scope: "col"}))));
  element("steps").replaceChildren(...forecast.quantiles[0].map((_, step) => make("tr", [
    make("th", when(new Date(origin + (step + 1) * forecast.step_ms).toISOString()), {scope: "row"}),
    ...forecast.quantiles.map(level => make("td", number(level[step]))),
  ])));
}

function plot(id, figure, there) {
  drawn[id] = there ? figure : null;
  if (there) draw(id, figure); else { Plotly.purge(id); element(id).classList.remove("js-plotly-plot"); }
}

/* --- the other views --- */

function driftTable(events, named) {
  const columns = ["at", ...(named ? ["of"] : []), "state", "detector", "statistic", "threshold", "errors", "since"];
  return table(columns, events.map(each => [
    moment(each.at), ...(named ? [left(each.series_id ?? each.group ?? "")] : []), left(badge(each.state)), left(each.detector),
    left(number(each.statistic)), left(number(each.threshold)), left(errors(each)), moment(each.since),
  ]));
}

/* How a series' errors have changed: their size, and to which side of the forecasts the values fall. */
function errors({scale, bias}) {
  const parts = scale == null ? [] : [`${number(Number(scale.toPrecision(2)))} × usual`];
  if (bias != null && Math.abs(bias) >= SIDE) parts.push(bias > 0 ? "values above" : "values below");
  return parts.join(", ") || "–";
}

async function drawDrift() {
  const [events, scores] = await Promise.all([get(api("/drift")), get(own("/over-time"))]);
  element("all-drift").replaceChildren(driftTable(events, true));
  plot("stream-scores", scores.figure, scores.points > 1);
}

async function drawModels() {
  const found = await get(api("/models"));
  const verdict = each => each.problem ?? (each.passed == null ? "not judged" : each.passed ? "passed" : "refused");
  element("models").replaceChildren(found.length ? table(["version", "is", "model", "gate", "scaled pinball", "seasonal naive", "last value", "why"], found.map(each => [
    left(each.has_report ? make("a", each.version, {href: address("models", each.version)}) : each.version), left(each.aliases.join(", ")),
    left(each.model ?? "–"), left(verdict(each)), left(number(each.scaled_pinball.candidate)), left(number(each.scaled_pinball.seasonal_naive)),
    left(number(each.scaled_pinball.last_value)), left(each.reason ?? "", "long"),
  ])) : make("p", "No model yet: `tidecast train` makes one, and until then the naive forecasts answer."));
  if (!shown.what) element("report").replaceChildren();
  else if (element("report").dataset.of !== shown.what) await drawReport();
}

async function drawReport() {
  const told = await get(own("/models/" + encodeURIComponent(shown.what)));
  element("report").dataset.of = shown.what;
  const cards = told.cards.map(([value, what]) => make("div", [make("b", value), make("span", what)], {className: "card"}));
  const parts = [make("h2", told.title), make("p", told.subtitle), make("div", cards, {className: "cards"})];
  const figures = [];
  told.sections.forEach(section => {
    const inside = [make("h2", section.heading)];
    if (section.note) inside.push(make("p", section.note));
    if (section.rows.length) {
      const said = section.columns.map(column => section.sentences.includes(column));
      const rows = section.rows.map(row => row.map((cell, at) => said[at] ? left(cell, "long") : make("td", cell)));
      const scrolled = make("div", table(section.columns, rows, said), {className: "scroll", tabIndex: 0, ariaLabel: section.heading});
      scrolled.setAttribute("role", "region");
      inside.push(scrolled);
    }
    section.figures.forEach((figure, at) => {
      const id = "report-" + figures.push(figure);
      const image = make("div", "", {id});
      image.setAttribute("role", "img");
      image.setAttribute("aria-label", section.captions[at] || section.heading);
      inside.push(make("figure", [make("figcaption", section.captions[at] ?? ""), image]));
    });
    parts.push(make("section", inside, {className: "panel"}));
  });
  element("report").replaceChildren(...parts);
  figures.forEach((figure, at) => { drawn["report-" + (at + 1)] = figure; draw("report-" + (at + 1), figure, 300); });
}

async function drawLetters() {
  const found = await get(api("/dead-letters"));
  element("letters").replaceChildren(table(["at", "reason", "detail", "key", "value", "from"], found.map(each => [
    moment(each.at), left(each.reason), left(each.detail, "long"), left(each.key ?? "–", "mono"), left(each.value ?? "–", "long mono"),
    left(each.topic ? `${each.topic}[${each.partition}] ${each.offset}` : "–"),
  ])));
}

/* --- what is shown --- */

const VIEWS = {series: drawList, drift: drawDrift, models: drawModels, "dead-letters": drawLetters};
const address = (view, what) => ["#", encodeURIComponent(shown.stream), view, ...(what ? [encodeURIComponent(what)] : [])].join("/");

function place() {
  const [, stream, view, what] = location.hash.split("/").map(decodeURIComponent);
  const known = [...element("stream").options].map(option => option.value);
  return {stream: known.includes(stream) ? stream : known[0], view: view in VIEWS ? view : "series", what};
}

async function show() {
  const before = shown;
  shown = place();
  element("stream").value = shown.stream;
  document.querySelectorAll("nav a").forEach(link => {
    link.href = address(link.dataset.view);
    if (link.dataset.view === shown.view) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  });
  Object.keys(VIEWS).forEach(view => { element("view-" + view).hidden = view !== shown.view; });
  if (shown.view === "series") chosen = shown.what ?? (shown.stream === before.stream ? chosen : null);
  await Promise.all([drawStream(), VIEWS[shown.view](), shown.view === "series" ? drawDetail() : null]);
  if (before.view && shown.what && innerWidth <= 860) (shown.view === "series" ? element("detail") : element("report")).scrollIntoView();
  listen();
}

const safely = action => async (...given) => {
  try { await action(...given); } catch (error) { if (error.name !== "AbortError" && error.status !== 401) say("lost", error.message); }
};

/* --- what changes --- */

function say(light, text) {
  element("light").className = light;
  if (element("said").textContent !== text) element("said").textContent = text;
}

const LATE = "Workers catch up with a backlog, and have the machine: this page reads less until they are through, so what it shows is late.";

function told(state) {
  const reasons = Object.values(state.reasons), isLate = state.gives_way && !reasons.length;
  say(reasons.length || isLate ? "waiting" : "live", reasons.length ? "not current" : isLate ? "late" : "live");
  if (isLate !== Boolean(element("late").firstChild)) element("late").replaceChildren(...isLate ? [make("p", LATE, {className: "panel"})] : []);
  element("passed").hidden = !state.passed_over;
  element("passed").textContent = `${count(state.passed_over)} messages were passed over: they came faster than this page reads. It does not show them; the topics have them.`;
  element("banner").hidden = !reasons.length;
  const text = reasons.join(" ");
  if (element("banner").textContent !== text) element("banner").replaceChildren(make("p", text));
}

async function onEvent(state, before) {
  told(state);
  if (document.hidden || state.version === before.version) return;
  const due = shown.view !== "series" || Date.now() - listed > LIST_EVERY_MS;
  const changed = JSON.stringify(state.series) !== JSON.stringify(before.series);
  await Promise.all([drawStream(), due && shown.view !== "models" ? VIEWS[shown.view]() : null, shown.view === "series" && changed ? drawDetail() : null]);
}

async function listen() {
  const wanted = JSON.stringify([shown.stream, chosen]);
  if (listening?.wanted === wanted) return;
  listening?.stop.abort();
  const mine = listening = {wanted, stop: new AbortController()};
  for (let tries = 0; listening === mine; tries++) {
    try {
      const query = new URLSearchParams({stream: shown.stream, ...(chosen ? {series_id: chosen} : {})});
      const answer = await ask("api/v1/events?" + query, {signal: mine.stop.signal});
      tries = 0;
      await follow(answer.body.pipeThrough(new TextDecoderStream()).getReader(), mine);
    } catch (error) {
      if (listening !== mine || error.status === 401) return;
      if (error.status) say("lost", error.message);
    }
    if (listening !== mine) return;
    say("lost", "not connected; trying again");
    await new Promise(done => setTimeout(done, RETRY_MS[Math.min(tries, RETRY_MS.length - 1)]));
  }
}

async function follow(reader, mine) {
  let rest = "", before = {};
  for (;;) {
    const {value, done} = await reader.read();
    if (done || listening !== mine) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    const states = parts.filter(part => part.startsWith("data: ")).map(part => JSON.parse(part.slice(6)));
    if (!states.length) continue;
    await safely(onEvent)(states.at(-1), before);
    before = states.at(-1);
  }
}

async function begin() {
  const streams = await get("api/v1/streams");
  element("stream").replaceChildren(...streams.map(each => new Option(each.stream, each.stream)));
  if (element("login").open) element("login").close();
  await show();
}

let typing = 0;
element("search").oninput = () => { clearTimeout(typing); typing = setTimeout(safely(refilter), 200); };
element("status").onchange = element("sort").onchange = safely(refilter);
element("filter").onsubmit = event => event.preventDefault();
element("more").onclick = safely(async () => { limit = Math.min(1000, limit + PAGE); await drawList(); });
element("stream").onchange = event => { location.hash = ["#", encodeURIComponent(event.target.value), shown.view].join("/"); };
element("steps").closest("details").ontoggle = safely(drawDetail);
element("login").oncancel = event => event.preventDefault();
element("login-form").onsubmit = safely(async event => {
  event.preventDefault();
  token = element("token").value.trim();
  await begin();
  sessionStorage.setItem("tidecast-token", token);
});
async function refilter() { limit = PAGE; await drawList(); }
addEventListener("hashchange", safely(show));
document.addEventListener("visibilitychange", safely(async () => { if (!document.hidden && shown.stream) await show(); }));
dark.addEventListener("change", () => Object.entries(drawn).forEach(([id, figure]) => figure && draw(id, figure)));
safely(begin)();

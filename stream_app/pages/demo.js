"use strict";
const element = id => document.getElementById(id);
let chosen = 0, frame = 0;

function withMarker(layout, at) {
  const line = getComputedStyle(document.documentElement).getPropertyValue("--quiet").trim();
  return {...layout, shapes: [{type: "line", x0: at, x1: at, yref: "paper", y0: 0, y1: 1, line: {color: line, width: 1, dash: "dot"}}]};
}

function drawFan() {
  const series = figures.series[chosen], at = series.origins[frame];
  if (at === undefined) { Plotly.purge("fan"); element("when").textContent = "no forecast was kept"; return; }
  element("when").textContent = new Date(at).toISOString().slice(0, 16).replace("T", " ") + " UTC";
  draw("fan", {data: series.fan.frames[frame].data, layout: withMarker(series.fan.layout, at)});
  if (element("strip").data) Plotly.relayout("strip", {shapes: withMarker({}, at).shapes});
}

function drawSeries() {
  const series = figures.series[chosen];
  frame = Math.min(frame, Math.max(0, series.origins.length - 1));
  element("series").value = chosen;
  element("origin").max = Math.max(0, series.origins.length - 1);
  element("origin").value = frame;
  draw("strip", series.strip);
  drawFan();
  document.querySelectorAll("tr[data-code]").forEach(row => row.classList.toggle("on", +row.dataset.code === chosen));
}

function drawAll() {
  draw("reliability", figures.reliability);
  draw("horizon", figures.horizon);
  drawSeries();
}

function show(number) { frame = Math.max(0, Math.min(+element("origin").max, number)); element("origin").value = frame; drawFan(); }

figures.series.forEach((series, code) => element("series").add(new Option(series.name, code)));
element("series").onchange = event => { chosen = +event.target.value; drawSeries(); };
element("origin").oninput = event => show(+event.target.value);
element("back").onclick = () => show(frame - 1);
element("on").onclick = () => show(frame + 1);
document.querySelectorAll("tr[data-code]").forEach(row => {
  const choose = () => { chosen = +row.dataset.code; drawSeries(); element("series").scrollIntoView({behavior: "smooth", block: "center"}); };
  row.onclick = choose;
  row.onkeydown = event => { if (event.key === "Enter") choose(); };
});
dark.addEventListener("change", drawAll);
frame = Math.floor((figures.series[0]?.origins.length ?? 0) / 2);
drawAll();

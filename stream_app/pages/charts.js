"use strict";
/* Figures come in plotly's own form, without fonts and backgrounds: the page lays its theme over them, light or dark. */
const dark = matchMedia("(prefers-color-scheme: dark)");

function themed(layout) {
  const style = getComputedStyle(document.documentElement), color = name => style.getPropertyValue(name).trim();
  const axis = {gridcolor: color("--line"), zerolinecolor: color("--line"), linecolor: color("--line"), fixedrange: true, automargin: true};
  return {...layout, paper_bgcolor: "transparent", plot_bgcolor: "transparent", dragmode: false,
    font: {family: "system-ui, sans-serif", size: 12, color: color("--quiet")},
    hoverlabel: {bgcolor: color("--bg"), bordercolor: color("--line"), font: {color: color("--ink")}},
    xaxis: {...axis, ...layout.xaxis}, yaxis: {...axis, ...layout.yaxis}};
}

/* Into the element of that id; without a height, the style sheet's counts. */
function draw(id, figure, height) {
  Plotly.react(id, figure.data, {...themed(figure.layout), height}, {displaylogo: false, responsive: true, displayModeBar: false});
}

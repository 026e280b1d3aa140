"use strict";

function drawAll() {
  figures.forEach((figure, number) => draw("figure-" + number, figure, 300));
}

dark.addEventListener("change", drawAll);
drawAll();

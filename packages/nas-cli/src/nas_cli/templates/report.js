"use strict";
const touch = matchMedia("(pointer: coarse)").matches;
const places = [...document.querySelectorAll(".plot")];
// One plot at a time, so that a page of many can be scrolled while they are drawn.
const drawNext = () => {
  const place = places.shift();
  if (!place) return;
  const figure = JSON.parse(place.querySelector("script").textContent);
  // A finger scrolls the page; a mouse drags a rectangle to zoom.
  figure.layout.dragmode = touch ? false : "zoom";
  Plotly.newPlot(place.querySelector(".canvas"), figure.data, figure.layout, {responsive: true, displayModeBar: false});
  setTimeout(drawNext);
};
drawNext();

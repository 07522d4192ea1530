// What the colours of nuclei mean.

import { element, figure } from "./dom.js";
import { PLAIN, UNKNOWN } from "./colours.js";
import { title } from "./measurements.js";

/** A bar of colours with what is at its places from the first to the last. */
export function scaleLegend(name, colours, ...places) {
  const canvas = element("canvas", { width: colours.length, height: 1, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  colours.forEach((colour, x) => {
    context.fillStyle = colour;
    context.fillRect(x, 0, 1, 1);
  });
  return element(
    "div",
    { className: "legend" },
    element("div", { className: "quiet" }, name),
    canvas,
    element("div", { className: "ends" }, ...places.map((place) => element("span", {}, place))),
  );
}

/** The legend of a colouring by a measurement, or of one colour. */
export function nucleiLegend(column, colouring) {
  if (colouring.colours.length === 1) {
    return element("div", { className: "legend quiet" }, swatch(PLAIN), "A nucleus");
  }
  const { colours, low, middle, high } = colouring;
  const places = [`≤ ${figure(low)}`, `median ${figure(middle)}`, `≥ ${figure(high)}`];
  const legend = scaleLegend(title(column), colours, ...places);
  legend.append(element("div", { className: "quiet" }, swatch(UNKNOWN), "not measured"));
  return legend;
}

/** A small square of a colour. */
export function swatch(colour) {
  const square = element("span", { className: "swatch" });
  square.style.background = colour;
  return square;
}

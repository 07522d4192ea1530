// What the colours of nuclei mean.

import { element, figure } from "./dom.js";
import { PLAIN, UNKNOWN } from "./colours.js";
import { title } from "./measurements.js";

/** A bar of colours with the values at its ends. */
export function scaleLegend(name, colours, low, high) {
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
    element("div", { className: "ends" }, element("span", {}, low), element("span", {}, high)),
  );
}

/** The legend of a colouring by a measurement, or of one colour. */
export function nucleiLegend(column, colouring) {
  if (colouring.colours.length === 1) {
    return element("div", { className: "legend quiet" }, swatch(PLAIN), "A nucleus");
  }
  const legend = scaleLegend(title(column), colouring.colours, `≤ ${figure(colouring.low)}`, `≥ ${figure(colouring.high)}`);
  legend.append(element("div", { className: "quiet" }, swatch(UNKNOWN), "not measured"));
  return legend;
}

/** A small square of a colour. */
export function swatch(colour) {
  const square = element("span", { className: "swatch" });
  square.style.background = colour;
  return square;
}

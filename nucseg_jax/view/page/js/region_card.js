// Figures of a region that was drawn: how many nuclei, how dense, how their measurements are spread.

import { sendJson } from "./api.js";
import { element, figure } from "./dom.js";
import { histogram } from "./histogram.js";
import { ordered, title } from "./measurements.js";

const PER = {
  tissue: "per mm² of tissue",
  squares: "per mm² of squares of 50 µm with tissue",
  region: "per mm² of the region (where tissue is, is not known)",
};
const FIRST = ["area_um2", "hematoxylin_density", "circularity"];

/** Ask for the figures of a polygon [[x, y], …] in base pixels. */
export function regionFigures(result, points) {
  return sendJson("POST", `api/results/${result}/region`, { polygon: points, unit: "px" });
}

/** What the panel shows of them. */
export function regionCard(figures, onClose) {
  const { count, area_mm2: area, tissue_mm2: tissue, per_mm2: density, per, measurements } = figures;
  const names = ordered(Object.keys(measurements)).filter((name) => name !== "touches_border");
  const [first, others] = [names.filter((name) => FIRST.includes(name)), names.filter((name) => !FIRST.includes(name))];
  return element(
    "section",
    { id: "region" },
    element("h2", {}, "Region"),
    element("div", { className: "number" }, count.toLocaleString("en")),
    element("p", {}, density === null ? "nuclei" : `nuclei, ${figure(density)} ${PER[per]}`),
    element("p", { className: "quiet" }, `${figure(area)} mm²${tissue === null ? "" : `, of it tissue ${figure(tissue)} mm²`}`),
    ...first.map((name) => spread(name, measurements[name])),
    element("details", {}, element("summary", {}, "More"), ...others.map((name) => spread(name, measurements[name]))),
    element("div", { className: "row" }, element("button", { className: "plain", onclick: onClose }, "Remove the region")),
  );
}

function spread(name, { count, mean, median, sd, edges, counts }) {
  return element(
    "div",
    {},
    element("h3", {}, title(name)),
    histogram(edges, counts, title(name)),
    element("p", { className: "quiet" }, `mean ${figure(mean)}, median ${figure(median)}, SD ${figure(sd)} of ${figure(count)}`),
  );
}

// The measurements of the nucleus that was clicked.

import { getJson } from "./api.js";
import { element, figure } from "./dom.js";
import { label, ordered, unit } from "./measurements.js";

/** The nucleus of a result at a point in base pixels, as the server describes it; null where there is none. */
export async function nucleusAt(result, [x, y]) {
  try {
    return await getJson(`api/results/${result}/nucleus?x=${x}&y=${y}`);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

/** What the panel shows of it; onClose is called by its button. */
export function nucleusCard(nucleus, onClose) {
  const rows = ordered(Object.keys(nucleus.measurements)).map((column) => {
    const value = nucleus.measurements[column];
    const text = column === "touches_border" ? (value ? "yes" : "no") : `${figure(value)} ${unit(column)}`;
    return element("tr", {}, element("th", {}, label(column)), element("td", {}, text));
  });
  return element(
    "section",
    {},
    element("h2", {}, `Nucleus ${nucleus.id}`),
    element("table", {}, element("tbody", {}, ...rows)),
    element("div", { className: "row" }, element("button", { className: "plain", onclick: onClose }, "Close")),
  );
}

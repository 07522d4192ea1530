// Two results of one slide side by side: what one misses, adds, merges and splits, and the scores.

import { getJson } from "./api.js";
import { OUTCOMES, outcomeColouring } from "./colours.js";
import { element, figure, sayError } from "./dom.js";
import { swatch } from "./legend.js";

const SCORES = [
  ["aji", "AJI", "Aggregated Jaccard index: 1 where all outlines agree"],
  ["pq", "PQ", "Panoptic quality: detection times agreement of the outlines"],
  ["dice", "Dice", "Agreement of the areas, nuclei taken together"],
];

export class ComparePanel {
  /** others: results of the same slide. onEnd is called when one of them alone is shown again. */
  constructor(scene, others, { onEnd }) {
    this.scene = scene;
    this.onEnd = onEnd;
    this.body = element("div");
    this.select = element(
      "select",
      { className: "wide", "aria-label": "Compare with", onchange: () => this.#choose().catch(sayError) },
      element("option", { value: "" }, "Compare with …"),
      ...others.map((other) => element("option", { value: other.id }, nameOf(other))),
    );
    this.root = element("section", {}, element("h2", {}, "Compare"), this.select, this.body);
  }

  async #choose() {
    const other = this.select.value;
    if (!other) {
      this.scene.closeBeside();
      this.body.replaceChildren();
      this.onEnd();
      return;
    }
    const reference = this.scene.main.result;
    this.body.replaceChildren(element("p", { className: "quiet" }, "comparing …"));
    const onBusy = (done, of) => {
      this.body.replaceChildren(element("p", { className: "quiet" }, `comparing: ${figure(done)} of ${figure(of)}`));
    };
    try {
      const about = await this.scene.openBeside(other, onBusy);
      if (!about) return;
      const found = await getJson(`api/compare?reference=${reference.id}&other=${other}`, { onBusy });
      if (this.select.value !== other) return;
      this.scene.main.layer.colour(outcomeColouring(other, "reference"));
      this.scene.second.layer.colour(outcomeColouring(reference.id, "other"));
      this.#show(found, nameOf(reference), nameOf(about));
    } catch (error) {
      this.scene.closeBeside();
      this.body.replaceChildren();
      this.select.value = "";
      this.onEnd();
      throw error;
    }
  }

  #show(found, reference, other) {
    const counts = { ...found.counts };
    this.body.replaceChildren(
      element("p", { className: "quiet" }, `Left ${reference} is taken as the truth, right ${other} is judged.`),
      table(SCORES.map(([key, name, words]) => [element("abbr", { title: words }, name), figure(found[key])])),
      element("h3", {}, "Nuclei"),
      table(OUTCOMES.map(({ name, words, colour }) => [[swatch(colour), words], counts[name].toLocaleString("en")])),
      table([
        ["Left", counts.reference.toLocaleString("en")],
        ["Right", counts.other.toLocaleString("en")],
      ]),
      ...found.notes.map((note) => element("p", { className: "warning" }, note)),
    );
  }
}

const nameOf = ({ name, model, truth }) => (truth ? "the ground truth" : model ? `${name} by ${model}` : name);

function table(rows) {
  const lines = rows.map(([head, value]) =>
    element("tr", {}, element("th", {}, ...[head].flat()), element("td", {}, value)),
  );
  return element("table", {}, element("tbody", {}, ...lines));
}

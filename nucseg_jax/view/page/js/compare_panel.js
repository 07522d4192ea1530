// Two results of one slide side by side: what one misses, adds, merges and splits, and the scores. Ground truth
// is what the other is held against; of two results it is the first.

import { getJson } from "./api.js";
import { OUTCOMES, outcomeColouring } from "./colours.js";
import { element, figure, progressWords, sayError } from "./dom.js";
import { swatch } from "./legend.js";

const SCORES = [
  ["aji", "AJI", "Aggregated Jaccard index: 1 where all outlines agree"],
  ["pq", "PQ", "Panoptic quality: detection times agreement of the outlines"],
  ["dice", "Dice", "Agreement of the areas, nuclei taken together"],
];

export class ComparePanel {
  /** others: results of the same slide. onBegin and onEnd are called when two are shown, and one again. */
  constructor(scene, others, { onBegin, onEnd }) {
    this.scene = scene;
    this.own = scene.main.result;
    this.number = 0; // of what was chosen last
    this.onBegin = onBegin;
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
    this.#end();
    if (!other) return;
    this.select.value = other;
    const number = ++this.number;
    const isAsked = () => number === this.number;
    const tell = (words) => isAsked() && this.body.replaceChildren(element("p", { className: "quiet" }, words));
    const onBusy = (done, of) => tell(progressWords("comparing", done, of));
    tell("comparing …");
    try {
      await this.#compare(other, onBusy, isAsked);
    } catch (error) {
      if (isAsked() && this.scene.main?.result === this.own) this.#end();
      throw error;
    }
  }

  async #compare(other, onBusy, isAsked) {
    const { own } = this;
    const about = await this.scene.openBeside(other, onBusy);
    const [reference, judged] = about.truth ? [about, own] : [own, about];
    const found = await getJson(`api/compare?reference=${reference.id}&other=${judged.id}`, { signal: this.scene.beside.signal, onBusy });
    if (!isAsked() || this.scene.second?.result !== about) return; // something else was chosen
    const { main, second } = this.scene;
    main.layer.colour(outcomeColouring(about.id, reference === own ? "reference" : "other"));
    second.layer.colour(outcomeColouring(own.id, reference === own ? "other" : "reference"));
    second.pane.name.textContent = nameOf(about);
    this.onBegin();
    this.#show(found, reference, judged);
  }

  #end() {
    this.number++;
    this.scene.closeBeside();
    this.body.replaceChildren();
    this.select.value = "";
    this.onEnd();
  }

  #show({ counts, notes, ...found }, reference, judged) {
    this.body.replaceChildren(
      element("p", { className: "quiet" }, `${nameOf(judged)} is held against ${nameOf(reference)}.`),
      table(SCORES.map(([key, name, words]) => [element("abbr", { title: words }, name), found[key].toFixed(3)])),
      element("h3", {}, "Nuclei"),
      table(OUTCOMES.map(({ name, words, colour }) => [[swatch(colour), words], figure(counts[name])])),
      element("p", { className: "quiet" }, `${figure(counts.other)} nuclei against ${figure(counts.reference)}.`),
      ...notes.map((note) => element("p", { className: "warning" }, note)),
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

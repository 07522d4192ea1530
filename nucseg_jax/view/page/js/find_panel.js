// Find nuclei in a slide that has none yet.

import { getJson, sendJson } from "./api.js";
import { element, figure, sayError } from "./dom.js";

const WORDS = {
  he: "he: thorough, for 40× images",
  "he-fast": "he-fast: quicker, for 20× images",
};

export class FindPanel {
  /** slide: as the server describes it. onQueued is called when a job has been made. */
  constructor(slide, onQueued) {
    this.slide = slide;
    this.onQueued = onQueued;
    this.model = element("select", { className: "wide", "aria-label": "Model" });
    this.mpp = element("input", { type: "number", min: 0.05, max: 5, step: "any", required: true, placeholder: "0.25" });
    this.start = element("button", { className: "main wide" }, "Find nuclei");
    const unknown = slide.mpp === null;
    this.root = element(
      "form",
      { onsubmit: (event) => this.#queue(event).catch(sayError) },
      element(
        "section",
        {},
        element("h2", {}, "Find nuclei"),
        element("p", { className: "quiet" }, `${figure(slide.width)} × ${figure(slide.height)} pixels`),
        ...slide.notes.map((note) => element("p", { className: "warning" }, note)),
        this.model,
        unknown
          ? element("p", { className: "warning" }, "The image does not say how large its pixels are. A scan at 40× has about 0.25 µm per pixel, at 20× about 0.5.")
          : element("p", { className: "quiet" }, `${figure(slide.mpp)} µm per pixel`),
        unknown ? element("label", {}, "µm per pixel", this.mpp) : null,
        this.start,
      ),
    );
    this.#fill().catch(sayError);
  }

  async #fill() {
    const { models, default: usual, run } = await getJson("api/models");
    const options = models.map((name) => element("option", { value: name, selected: name === usual }, WORDS[name] ?? name));
    if (run) options.unshift(element("option", { value: "", selected: true }, `your run ${run}`));
    this.model.replaceChildren(...options);
  }

  async #queue(event) {
    event.preventDefault();
    this.start.disabled = true;
    try {
      const mpp = this.slide.mpp === null ? Number(this.mpp.value) : null;
      const job = await sendJson("POST", "api/jobs", { slide: this.slide.id, model: this.model.value || null, mpp });
      this.onQueued(job.id);
    } finally {
      this.start.disabled = false;
    }
  }
}

// What is open: one pane, or two of the same slide that move together; each with the nuclei of a result, if there are.

import { getJson } from "./api.js";
import { byId, progressWords } from "./dom.js";
import { Drawing } from "./drawing.js";
import { NucleiLayer } from "./nuclei_layer.js";
import { SlidePane } from "./slide_pane.js";

/** A pane with what lies over it. */
class Side {
  constructor(parent, about, slide) {
    this.result = about; // null: the slide alone
    const shown = about ?? slide;
    this.pane = new SlidePane(parent, {
      slide: about ? about.slide : slide.id,
      name: about?.model ? `${about.name} by ${about.model}` : shown.name,
      width: shown.width,
      height: shown.height,
      mpp: shown.mpp,
    });
    this.layer = about ? new NucleiLayer(this.pane, about.id, (state) => this.#tell(state)) : null;
    this.drawing = new Drawing(this.pane); // over the nuclei
  }

  #tell({ busy, error, about }) {
    const { pane } = this;
    if (about) pane.root.dataset.nuclei = about.count; // on the screen: tests look at it
    if (error) pane.status.textContent = error;
    else if (busy) pane.status.textContent = progressWords("reading nuclei", busy.done, busy.of);
    else if (about.touching > about.count) pane.status.textContent = "too many to draw all: zoom in";
    else pane.status.textContent = "";
  }

  destroy() {
    this.layer?.destroy();
    this.pane.destroy();
  }
}

export class Scene {
  constructor() {
    this.sides = [];
    this.opening = new AbortController(); // of what is shown, or is just being opened
    this.beside = new AbortController(); // the same of the second pane
  }

  /** The first pane; null when nothing is open. */
  get main() {
    return this.sides[0] ?? null;
  }

  get second() {
    return this.sides[1] ?? null;
  }

  /** Open a slide {id}, without nuclei. Opening something else aborts it: it fails with AbortError. */
  async openSlide(id) {
    const signal = this.#begin();
    const slide = await getJson(`api/slides/${id}`, { signal });
    await this.#replace(null, slide, signal);
    return slide;
  }

  /** Open a result. Returns what the server knows of it; it is aborted as `openSlide`. */
  async openResult(id, onBusy) {
    const signal = this.#begin();
    const about = await getJson(`api/results/${id}`, { signal, onBusy });
    await this.#replace(about, null, signal);
    return about;
  }

  /** Put another result of the slide beside the one that is open. `closeBeside` aborts it, too. */
  async openBeside(id, onBusy) {
    this.closeBeside();
    const { signal } = this.beside;
    const found = await getJson(`api/results/${id}`, { signal, onBusy });
    const about = { ...found, slide: found.slide ?? this.main.result.slide };
    const side = new Side(byId("panes"), about, null);
    this.sides.push(side);
    for (const { pane } of this.sides) pane.withoutMap = true; // two panes are too narrow for it
    await side.pane.opened;
    signal.throwIfAborted();
    this.#couple(signal);
    return about;
  }

  closeBeside() {
    this.beside.abort();
    this.beside = new AbortController();
    this.sides.splice(1).forEach((side) => side.destroy());
    if (this.main) this.main.pane.withoutMap = false;
  }

  /** Show nothing. */
  close() {
    this.#begin();
    this.sides.splice(0).forEach((side) => side.destroy());
  }

  #begin() {
    this.opening.abort();
    this.opening = new AbortController();
    this.beside.abort();
    return this.opening.signal;
  }

  async #replace(about, slide, signal) {
    this.sides.splice(0).forEach((side) => side.destroy());
    byId("welcome")?.remove();
    this.sides = [new Side(byId("panes"), about, slide)];
    await this.main.pane.opened;
    signal.throwIfAborted();
  }

  /** What moves one moves the other, until the second is closed. */
  #couple(signal) {
    const panes = this.sides.map((side) => side.pane);
    let leader = null; // whoever is moved by the person
    panes.forEach((pane, index) => {
      const other = panes[1 - index];
      const stop = pane.onView(() => {
        if (leader === other) return;
        leader = pane;
        other.follow(pane);
        leader = null;
      });
      signal.addEventListener("abort", stop);
    });
    panes[1].follow(panes[0]);
  }
}

// What is open: one pane, or two of the same slide that move together; each with the nuclei of a result, if there are.

import { getJson } from "./api.js";
import { byId, sayError } from "./dom.js";
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
    else if (busy) pane.status.textContent = `reading nuclei: ${busy.done.toLocaleString("en")} of ${busy.of.toLocaleString("en")}`;
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
    this.opening = 0;
  }

  /** The first pane; null when nothing is open. */
  get main() {
    return this.sides[0] ?? null;
  }

  get second() {
    return this.sides[1] ?? null;
  }

  /** Open a slide {id}, without nuclei. */
  async openSlide(id) {
    const number = ++this.opening;
    const slide = await getJson(`api/slides/${id}`);
    if (number !== this.opening) return null;
    await this.#replace([new Side(this.#emptied(), null, slide)]);
    return slide;
  }

  /** Open a result. Returns what the server knows of it, or null when something else has been opened since. */
  async openResult(id, onBusy) {
    const number = ++this.opening;
    const about = await getJson(`api/results/${id}`, { onBusy });
    if (number !== this.opening) return null;
    await this.#replace([new Side(this.#emptied(), about, null)]);
    return about;
  }

  /** Put another result of the slide beside the one that is open. */
  async openBeside(id, onBusy) {
    const number = this.opening;
    const about = await getJson(`api/results/${id}`, { onBusy });
    if (number !== this.opening || !this.main) return null;
    this.closeBeside();
    const side = new Side(byId("panes"), { ...about, slide: about.slide ?? this.main.result.slide }, null);
    this.sides.push(side);
    for (const { pane } of this.sides) pane.withoutMap = true; // two panes are too narrow for it
    await side.pane.opened;
    this.#couple();
    return about;
  }

  closeBeside() {
    this.sides.splice(1).forEach((side) => side.destroy());
    if (this.main) this.main.pane.withoutMap = false;
  }

  #emptied() {
    this.sides.splice(0).forEach((side) => side.destroy());
    byId("welcome")?.remove();
    return byId("panes");
  }

  async #replace(sides) {
    this.sides = sides;
    await Promise.all(sides.map((side) => side.pane.opened)).catch(sayError);
  }

  /** What moves one moves the other. */
  #couple() {
    const panes = this.sides.map((side) => side.pane);
    let leader = null; // whoever is moved by the person
    panes.forEach((pane, index) => {
      const other = panes[1 - index];
      pane.onView(() => {
        if (this.sides.length < 2 || leader === other) return;
        leader = pane;
        other.follow(pane);
        leader = null;
      });
    });
    panes[1].follow(panes[0]);
  }
}

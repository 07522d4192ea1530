// The nuclei of a result: how many, in which colours, and the density map.

import { getJson } from "./api.js";
import { colouring, stepsOf } from "./colours.js";
import { element, figure, sayError } from "./dom.js";
import { nucleiLegend, scaleLegend } from "./legend.js";
import { COLOUR_CHOICES, label, ordered } from "./measurements.js";

const OVERLAY_OPACITY = 0.55;

export class ResultPanel {
  /** side: of the scene. */
  constructor(side) {
    this.side = side;
    this.about = side.result;
    this.column = "";
    this.shownDensity = null; // {picture, place, opacity}
    this.legend = element("div");
    this.densityLegend = element("div");
    this.select = this.#choices();
    this.shown = this.#switch("Show nuclei", "H", true, (on) => side.layer.setVisible(on));
    this.filled = this.#switch("Fill them", "F", false, (on) => side.layer.setFilled(on));
    const hasDensity = this.about.files.includes("density.tif");
    this.density = hasDensity ? this.#switch("Density map", "D", false, (on) => this.#showDensity(on).catch(sayError)) : null;
    this.root = element("section", {}, element("h2", {}, "Nuclei"), ...this.#figures(), ...this.#controls());
    this.recolour();
  }

  /** Turn a switch: "shown", "filled" or "density". */
  toggle(name) {
    this[name]?.box.click();
  }

  /** Colour by the chosen measurement. */
  recolour() {
    const { columns, quantiles } = this.about;
    const chosen = colouring(this.select.value, columns, quantiles);
    this.side.layer.colour(chosen);
    this.legend.replaceChildren(nucleiLegend(this.select.value, chosen));
  }

  /** While two results are compared, colours are those of the comparison. */
  comparing() {
    return {
      onBegin: () => {
        this.select.disabled = true;
        this.legend.hidden = true;
      },
      onEnd: () => {
        this.select.disabled = false;
        this.legend.hidden = false;
        this.recolour();
      },
    };
  }

  #figures() {
    const { count, nuclei, mpp, model, notes } = this.about;
    const density = nuclei?.per_mm2;
    return [
      element("div", { className: "number" }, count.toLocaleString("en")),
      density !== null && density !== undefined ? element("p", {}, `${figure(density)} per mm² in ${figure(nuclei.area_mm2)} mm² of tissue`) : null,
      element("p", { className: "quiet" }, `${model ? `by ${model}, ` : ""}${figure(mpp)} µm per pixel`),
      notes.length ? this.#notes(notes) : null,
    ].filter(Boolean);
  }

  #notes(notes) {
    const lines = notes.map((note) => element("p", { className: "warning" }, note));
    const words = notes.length === 1 ? "1 note" : `${notes.length} notes`;
    return element("details", {}, element("summary", { className: "warning" }, words), ...lines);
  }

  #controls() {
    const row = element("label", {}, "Colour by", this.select);
    const switches = [this.shown, this.filled, this.density].filter(Boolean).map((one) => one.root);
    return [row, this.legend, ...switches, this.densityLegend];
  }

  #choices() {
    const measured = Object.keys(this.about.columns).filter((name) => this.about.columns[name]);
    const first = COLOUR_CHOICES.filter((name) => measured.includes(name));
    const others = ordered(measured).filter((name) => !first.includes(name) && name !== "touches_border");
    const option = (name) => element("option", { value: name }, label(name));
    return element(
      "select",
      { "aria-label": "Colour by", onchange: () => this.recolour() },
      element("option", { value: "" }, "One colour"),
      ...first.map(option),
      ...others.map(option),
    );
  }

  #switch(text, key, on, onChange) {
    const box = element("input", { type: "checkbox", checked: on, onchange: () => onChange(box.checked) });
    return { box, root: element("label", {}, box, text, element("kbd", {}, key)) };
  }

  async #showDensity(on) {
    const { pane } = this.side;
    if (this.shownDensity) pane.removeOverlay(this.shownDensity.picture);
    this.shownDensity = null;
    this.densityLegend.replaceChildren();
    if (!on) return;
    const base = `api/results/${this.about.id}`;
    const map = await getJson(`${base}/density`);
    if (!this.density.box.checked || this.shownDensity || !pane.view()) return; // switched again, or left
    const place = { url: `${base}/density.png`, width: map.width_px, height: map.height_px };
    this.shownDensity = { picture: pane.addOverlay(place, OVERLAY_OPACITY), place, opacity: OVERLAY_OPACITY };
    const end = `${figure(map.top_per_mm2)} per mm²`;
    this.densityLegend.replaceChildren(scaleLegend("Density of nuclei", stepsOf(map.colours), "0", end));
  }
}

// Correct nuclei: select, delete, merge, draw; mark what is checked; save it for training.

import { absolute, sendJson } from "./api.js";
import { Corrections } from "./corrections.js";
import { element, say, sayError } from "./dom.js";
import { isInside, ringOfView } from "./geometry.js";
import { nucleusAt } from "./nucleus_card.js";

const DRAWN = "#ffd400";
const SELECTED = "#ffffff";
const CHECKED = "#3ddc84";

export class CorrectPanel {
  /** side: of the scene. onShapes() is called when other shapes are to be shown. */
  constructor(side, onShapes) {
    this.side = side;
    this.onShapes = onShapes;
    this.selected = []; // {id, outline} of nuclei, {drawn, outline} of drawn ones
    this.root = element("section", { id: "correct", hidden: true });
    this.corrections = new Corrections(side.result.id, () => this.#changed());
    this.corrections.onError = sayError;
    this.corrections.load().catch(sayError);
  }

  get active() {
    return !this.root.hidden;
  }

  /** Begin or end correcting. */
  setActive(active) {
    this.root.hidden = !active;
    this.selected = [];
    this.side.drawing.use(null);
    this.#changed();
  }

  /** What the pane shows of it. */
  shapes() {
    const { added, regions } = this.corrections.now;
    return [
      ...regions.map(({ polygon }) => ({ rings: [polygon], colour: CHECKED, dashed: true })),
      ...added.map(({ polygon }) => ({ rings: [polygon], colour: DRAWN })),
      ...(this.active ? this.selected.map(({ outline }) => ({ rings: outline, colour: SELECTED, filled: true })) : []),
    ];
  }

  /** Select what lies at a point; with Shift or Ctrl, too. */
  async select(point, event) {
    const more = event?.shiftKey || event?.ctrlKey || event?.metaKey || this.several?.checked;
    const found = await this.#at(point);
    const same = (one) => found && one.id === found.id && one.drawn === found.drawn;
    if (more) {
      const had = this.selected.some(same);
      this.selected = this.selected.filter((one) => !same(one));
      if (found && !had) this.selected.push(found);
    } else {
      this.selected = found ? [found] : [];
    }
    this.#changed();
  }

  remove() {
    const { ids, drawn } = this.#chosen();
    if (!ids.length && !drawn.length) return;
    this.selected = [];
    this.corrections.remove(ids, drawn);
  }

  /** Make one nucleus of those that are selected. */
  async merge() {
    if (this.selected.length < 2) {
      say("Select two nuclei or more first: click them with Shift held down");
      return;
    }
    const { ids, drawn } = this.#chosen();
    const outlines = this.selected.map(({ outline }) => outline[0]);
    const { polygon } = await sendJson("POST", "api/merged-outline", { outlines });
    this.selected = [];
    this.corrections.draw(polygon, ids, drawn);
  }

  /** Draw an outline, in place of what is selected. */
  draw() {
    const { ids, drawn } = this.#chosen();
    say(ids.length + drawn.length ? "Draw the new outline" : "Draw the outline of a nucleus");
    this.side.drawing.use("polygon", (points) => {
      this.side.drawing.use(null);
      this.selected = [];
      this.corrections.draw(points, ids, drawn);
    });
  }

  /** Mark a region as checked: a rectangle that is drawn, or what is on the screen. */
  check(whole = false) {
    const { drawing, pane } = this.side;
    if (whole) {
      this.corrections.addRegion(ringOfView(pane.view(), pane.size));
      return;
    }
    say("Draw a rectangle around the part that you have checked");
    drawing.use("rectangle", (points) => {
      drawing.use(null);
      this.corrections.addRegion(points);
    });
  }

  undo() {
    this.selected = [];
    this.corrections.undo();
  }

  redo() {
    this.selected = [];
    this.corrections.redo();
  }

  #chosen() {
    return {
      ids: this.selected.filter((one) => one.id !== undefined).map(({ id }) => id),
      drawn: this.selected.filter((one) => one.drawn !== undefined).map(({ drawn }) => drawn),
    };
  }

  async #at(point) {
    const drawn = this.corrections.now.added.findLast(({ polygon }) => isInside(polygon, point));
    if (drawn) return { drawn: drawn.id, outline: [drawn.polygon] };
    const nucleus = await nucleusAt(this.side.result.id, point);
    if (!nucleus?.outline || this.corrections.now.removed.includes(nucleus.id)) return null;
    return { id: nucleus.id, outline: nucleus.outline };
  }

  #changed() {
    const { removed } = this.corrections.now;
    if (removed.length || this.side.layer.hidden.length) {
      const known = new Set(this.side.layer.hidden);
      if (removed.length !== known.size || removed.some((id) => !known.has(id))) this.side.layer.hide(removed);
    }
    if (this.active) this.#build();
    this.onShapes();
  }

  #build() {
    const { corrections, selected } = this;
    const { regions } = corrections.now;
    const wasSeveral = this.several?.checked ?? false;
    this.several = element("input", { type: "checkbox", checked: wasSeveral });
    const button = (words, key, onclick, enabled = true) =>
      element("button", { onclick, disabled: !enabled, title: `${words} (${key})` }, words);
    const any = selected.length > 0;
    const parts = [
      element("h2", {}, "Correct"),
      element("p", { className: "quiet" }, "Click a nucleus to select it; with Shift, several."),
      element("label", {}, this.several, "Select several"),
      element(
        "div",
        { className: "row" },
        button("Delete", "Del", () => this.remove(), any),
        button("Merge", "M", () => this.merge().catch(sayError), selected.length > 1),
        button(any ? "Redraw" : "Draw", "N", () => this.draw()),
      ),
      element(
        "div",
        { className: "row" },
        button("Undo", "Ctrl+Z", () => this.undo(), corrections.past.length > 0),
        button("Redo", "Ctrl+Y", () => this.redo(), corrections.future.length > 0),
      ),
      element("p", { role: "status" }, this.#words()),
      ...corrections.notes.map((note) => element("p", { className: "warning" }, note)),
      element("h3", {}, "Checked regions"),
      element("p", { className: "quiet" }, "Where all nuclei are right now. A model learns from these regions only."),
      element(
        "div",
        { className: "row" },
        button("Draw a rectangle", "K", () => this.check()),
        button("All that I see", "Shift+K", () => this.check(true)),
      ),
      ...regions.map(({ id }, number) => this.#region(id, number)),
      regions.length ? this.#saved() : null,
    ];
    const focused = this.root.contains(document.activeElement) ? document.activeElement.title : "";
    this.root.replaceChildren(...parts.filter(Boolean));
    if (focused) this.root.querySelector(`[title="${focused}"]`)?.focus();
  }

  #words() {
    const { count, state, ready } = this.corrections;
    if (!ready) return "reading what was corrected before …";
    const words = count === 1 ? "1 correction" : `${count} corrections`;
    return `${words}${{ changed: ", not saved yet", saving: ", saving", saved: ", saved" }[state] ?? ""}`;
  }

  #region(id, number) {
    const remove = element("button", { className: "plain", onclick: () => this.corrections.removeRegion(id) }, "Remove");
    return element("label", {}, `Region ${number + 1}`, remove);
  }

  #saved() {
    const href = absolute(`api/results/${this.side.result.id}/corrected.geojson`);
    const get = async (event) => {
      event.preventDefault();
      await this.corrections.flush();
      element("a", { href, download: "" }).click();
    };
    return element("a", { className: "wide", href, onclick: (event) => get(event).catch(sayError) }, "Save for training (GeoJSON)");
  }
}

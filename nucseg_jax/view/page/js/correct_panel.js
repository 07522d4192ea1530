// Correct nuclei: select, delete, merge, draw; mark what is checked; save it for training.

import { absolute, sendJson } from "./api.js";
import { Corrections } from "./corrections.js";
import { ask, element, say, sayError } from "./dom.js";
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
    this.asked = 0; // the number of the last click
    this.merging = false;
    this.corrections = new Corrections(side.result.id, () => this.#changed());
    this.corrections.onError = sayError;
    this.corrections.onConflict = askWhose;
    this.#build();
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
    const more = event?.shiftKey || event?.ctrlKey || event?.metaKey || this.several.checked;
    const number = ++this.asked;
    const found = await this.#at(point);
    if (!this.active || (!more && number !== this.asked)) return; // another click came in between
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
    if (this.merging) return;
    const { ids, drawn } = this.#chosen();
    const { selected } = this;
    const outlines = selected.map(({ outline }) => outline[0]);
    this.merging = true;
    try {
      const { polygon } = await sendJson("POST", "api/merged-outline", { outlines });
      if (!selected.every((one) => this.#isThere(one))) return; // deleted or undone in between
      this.selected = [];
      this.corrections.draw(polygon, ids, drawn);
    } finally {
      this.merging = false;
    }
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
    const one = { id: nucleus?.id, outline: nucleus?.outline };
    return one.outline && this.#isThere(one) ? one : null;
  }

  /** Whether something that was selected is not removed. */
  #isThere({ id, drawn }) {
    const { removed, added } = this.corrections.now;
    return drawn === undefined ? !removed.includes(id) : added.some((one) => one.id === drawn);
  }

  #changed() {
    const { removed } = this.corrections.now;
    this.selected = this.selected.filter((one) => this.#isThere(one));
    const hidden = new Set(this.side.layer.hidden);
    if (removed.length !== hidden.size || removed.some((id) => !hidden.has(id))) this.side.layer.hide(removed);
    if (this.active) this.#show();
    this.onShapes();
  }

  /** Make the panel, once: what has the focus or is pressed stays. */
  #build() {
    const button = (words, key, onclick) => element("button", { onclick, title: `${words} (${key})` }, words);
    const row = (...parts) => element("div", { className: "row" }, ...parts);
    this.several = element("input", { type: "checkbox" });
    this.buttons = {
      remove: button("Delete", "Del", () => this.remove()),
      merge: button("Merge", "M", () => this.merge().catch(sayError)),
      draw: button("Draw", "N", () => this.draw()),
      undo: button("Undo", "Ctrl+Z", () => this.undo()),
      redo: button("Redo", "Ctrl+Y", () => this.redo()),
    };
    const { remove, merge, draw, undo, redo } = this.buttons;
    this.status = element("p", { role: "status" });
    this.notes = element("div");
    this.regions = element("div");
    this.save = this.#saved();
    this.root = element(
      "section",
      { id: "correct", hidden: true, tabIndex: -1, "aria-label": "Correct" },
      element("h2", {}, "Correct"),
      element("p", { className: "quiet" }, "Click a nucleus to select it; with Shift, several."),
      element("label", {}, this.several, "Select several"),
      row(remove, merge, draw),
      row(undo, redo),
      this.status,
      this.notes,
      element("h3", {}, "Checked regions"),
      element("p", { className: "quiet" }, "Where all nuclei are right now. A model learns from these regions only."),
      row(
        button("Draw a rectangle", "K", () => this.check()),
        button("All that I see", "Shift+K", () => this.check(true)),
      ),
      this.regions,
      this.save,
    );
  }

  #show() {
    const { corrections, selected, buttons, root } = this;
    const focused = document.activeElement;
    const hadFocus = root.contains(focused);
    buttons.remove.disabled = !selected.length;
    buttons.merge.disabled = selected.length < 2;
    buttons.draw.textContent = selected.length ? "Redraw" : "Draw";
    buttons.undo.disabled = !corrections.past.length;
    buttons.redo.disabled = !corrections.future.length;
    if (this.status.textContent !== this.#words()) this.status.textContent = this.#words();
    this.notes.replaceChildren(...corrections.notes.map((note) => element("p", { className: "warning" }, note)));
    const { regions } = corrections.now;
    if (regions !== this.shownRegions) this.regions.replaceChildren(...regions.map(({ id }, number) => this.#region(id, number)));
    this.shownRegions = regions;
    this.save.hidden = !regions.length;
    if (hadFocus && (focused.disabled || !root.contains(focused))) root.focus();
  }

  #words() {
    const { count, state, ready } = this.corrections;
    if (!ready) return "reading what was corrected before …";
    const words = count === 1 ? "1 correction" : `${count} corrections`;
    return `${words}${{ changed: ", not saved yet", saving: ", saving", saved: ", saved" }[state] ?? ""}`;
  }

  #region(id, number) {
    const name = `Region ${number + 1}`;
    const onclick = () => this.corrections.removeRegion(id);
    const remove = element("button", { className: "plain", "aria-label": `Remove ${name}`, onclick }, "Remove");
    return element("div", { className: "named" }, name, remove);
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

/** Another tab has saved other corrections: whether ours stay; null where the person does not say. */
async function askWhose() {
  const words = "Corrections of this result have been saved in another tab or window since this one read them. One of the two is lost.";
  const answer = await ask("Whose corrections stay?", [element("p", {}, words)], [
    ["theirs", "Those of the other tab"],
    ["ours", "Those of this tab"],
  ]);
  return { ours: true, theirs: false }[answer] ?? null;
}

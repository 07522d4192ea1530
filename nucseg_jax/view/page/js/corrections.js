// The corrections of a result: which nuclei are removed, which are drawn, which regions are checked; with undo.

import { getJson, sendJson } from "./api.js";

const PAUSE = 700; // milliseconds after a change until it is saved

export class Corrections {
  /** result: its id. onChange() is called when something here has changed, saving included. */
  constructor(result, onChange) {
    this.result = result;
    this.onChange = onChange;
    this.now = { removed: [], added: [], regions: [] };
    this.past = [];
    this.future = [];
    this.version = null; // null: not loaded
    this.notes = [];
    this.saving = null;
    this.state = ""; // "changed", "saving" or "saved"
    this.onConflict = null; // async (): whether ours stay where another tab has saved others; null: neither yet
  }

  get path() {
    return `api/results/${this.result}/corrections`;
  }

  async load() {
    this.#take(await getJson(this.path));
    this.onChange();
  }

  #take({ version, removed, added, regions, notes }) {
    this.version = version;
    this.notes = notes;
    this.now = { removed, added, regions };
    this.past = [];
    this.future = [];
    this.state = "";
  }

  /** How many changes of nuclei there are. */
  get count() {
    const replaced = new Set(this.now.added.flatMap(({ replaces }) => replaces));
    return this.now.removed.filter((id) => !replaced.has(id)).length + this.now.added.length;
  }

  /** Remove nuclei by their ids, and drawn ones by theirs. */
  remove(ids, drawn = []) {
    this.#change({
      removed: [...new Set([...this.now.removed, ...ids])],
      added: this.now.added.filter(({ id }) => !drawn.includes(id)),
    });
  }

  /** Put a polygon [[x, y], …] in place of nuclei and of drawn ones, which may be none. */
  draw(polygon, replaces = [], drawn = []) {
    const gone = this.now.added.filter(({ id }) => drawn.includes(id));
    const all = [...new Set([...replaces, ...gone.flatMap((one) => one.replaces)])];
    this.#change({
      removed: [...new Set([...this.now.removed, ...replaces])],
      added: [...this.now.added.filter((one) => !gone.includes(one)), { id: this.#newId("a"), polygon, replaces: all }],
    });
  }

  /** Mark a region as checked. */
  addRegion(polygon) {
    this.#change({ regions: [...this.now.regions, { id: this.#newId("r"), polygon }] });
  }

  removeRegion(id) {
    this.#change({ regions: this.now.regions.filter((region) => region.id !== id) });
  }

  undo() {
    this.#step(this.past, this.future);
  }

  redo() {
    this.#step(this.future, this.past);
  }

  /** Save what is not yet saved, now. */
  async flush() {
    clearTimeout(this.timer);
    this.timer = null;
    while (this.saving) await this.saving; // another may begin while this one waits
    if (this.state !== "changed") return;
    this.state = "saving";
    this.onChange();
    this.saving = this.#put();
    try {
      await this.saving;
    } finally {
      this.saving = null;
    }
  }

  async #put() {
    try {
      const { version } = await sendJson("PUT", this.path, { version: this.version, ...this.now });
      this.version = version;
      if (this.state === "saving") this.state = "saved";
    } catch (error) {
      this.state = "changed";
      if (error.status !== 409) throw error;
      await this.#settle();
    } finally {
      this.onChange();
    }
  }

  /** Another tab has saved since: the person says whose corrections stay. */
  async #settle() {
    const theirs = await getJson(this.path);
    const isOurs = await this.onConflict();
    if (isOurs === null) return;
    if (!isOurs) {
      this.#take(theirs);
      return;
    }
    this.version = theirs.version;
    this.state = "saving";
    await this.#put();
  }

  /** Whether something is not on the disk. */
  get unsaved() {
    return this.state === "changed" || this.state === "saving";
  }

  /** Whether they have been read. */
  get ready() {
    return this.version !== null;
  }

  #change(parts) {
    if (!this.ready) return;
    this.past.push(this.now);
    this.future = [];
    this.#set({ ...this.now, ...parts });
  }

  #step(from, to) {
    if (!from.length) return;
    to.push(this.now);
    this.#set(from.pop());
  }

  #set(now) {
    this.now = now;
    this.state = "changed";
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush().catch((error) => this.onError?.(error)), PAUSE);
    this.onChange();
  }

  #newId(letter) {
    const taken = [...this.now.added, ...this.now.regions, ...this.past.flatMap((one) => [...one.added, ...one.regions])];
    const numbers = taken.filter(({ id }) => /^[ar]\d+$/.test(id) && id[0] === letter).map(({ id }) => Number(id.slice(1)));
    return `${letter}${Math.max(0, ...numbers) + 1}`;
  }
}

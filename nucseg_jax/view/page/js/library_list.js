// Slides and results that are open to the page, and images that are added to them.

import { getJson, upload } from "./api.js";
import { byId, element, figure, say, sayError } from "./dom.js";

export class LibraryList {
  /** onSlide(id) and onResult(id) open one. */
  constructor({ onSlide, onResult }) {
    this.onSlide = onSlide;
    this.onResult = onResult;
    this.slides = [];
    this.results = [];
    this.current = "";
    this.#takeFiles();
  }

  /** Ask the server what there is. */
  async load() {
    const { slides, results, notes, most_upload_bytes: most } = await getJson("api/library");
    this.mostBytes = most;
    this.slides = slides;
    this.results = results;
    byId("notes").replaceChildren(...notes.map((note) => element("p", { className: "warning" }, note)));
    this.show();
  }

  /** Mark what is shown: "slide ID" or "result ID". */
  mark(current) {
    this.current = current;
    this.show();
  }

  /** What was found in a slide, and its ground truths; of slides that are one file, in each of them. */
  resultsOf(slide) {
    const files = new Map(this.slides.map(({ id, file }) => [id, file]));
    const found = this.results.filter((one) => one.slide !== null && files.get(one.slide) === files.get(slide));
    const own = found.filter((one) => one.slide === slide);
    // A ground truth is listed for each way that the file is opened in.
    return found.filter((one) => !one.truth || one.slide === slide || !own.some(({ name }) => name === one.name));
  }

  /** The newest of what was found in a slide; undefined where nothing was. */
  newestOf(slide) {
    const found = this.resultsOf(slide).filter(({ truth }) => !truth);
    const time = ({ created }) => Date.parse(created) || 0;
    return found.reduce((newest, one) => (newest && time(newest) > time(one) ? newest : one), undefined);
  }

  /** What a result can be compared with. */
  othersOf(result) {
    const own = this.results.find(({ id }) => id === result);
    return own?.slide ? this.resultsOf(own.slide).filter(({ id }) => id !== result) : [];
  }

  show() {
    const firsts = this.slides.filter(({ file }, i) => this.slides.findIndex((one) => one.file === file) === i);
    const lines = firsts.flatMap((slide) => [
      this.#line("slide", slide, "", () => this.onSlide(slide.id)),
      ...this.resultsOf(slide.id).map((one) => this.#result(one, true)),
    ]);
    const alone = this.results.filter((one) => !this.slides.some(({ id }) => id === one.slide));
    const focused = document.activeElement?.dataset.entry;
    byId("library").replaceChildren(...lines, ...alone.map((one) => this.#result(one, false)));
    if (focused) byId("library").querySelector(`[data-entry="${focused}"]`)?.focus();
  }

  #result(result, under) {
    const kind = result.truth ? "ground truth" : wordsOf(result);
    const words = result.missing ? `${kind}; the slide is not there: ${result.missing}` : kind;
    return this.#line("result", result, words, () => this.onResult(result.id), under);
  }

  #line(kind, { id, name }, words, open, under = false) {
    const entry = `${kind} ${id}`;
    const onclick = (event) => {
      if (event.detail) event.currentTarget.blur(); // a pointer's click: keys are the slide's from now on
      open();
    };
    const button = element(
      "button",
      { className: under ? "entry under" : "entry", onclick, "data-entry": entry, "aria-current": String(this.current === entry) },
      name,
      words ? element("small", {}, words) : null,
    );
    return element("li", {}, button);
  }

  #takeFiles() {
    byId("choose-file").addEventListener("click", () => byId("file").click());
    byId("file").addEventListener("change", () => {
      this.#add([...byId("file").files]).catch(sayError);
      byId("file").value = "";
    });
    let depth = 0; // dragenter and dragleave come for every element under the pointer
    const isFile = (event) => event.dataTransfer?.types.includes("Files");
    const show = (by) => {
      depth = Math.max(0, depth + by);
      byId("drop").hidden = depth === 0;
    };
    addEventListener("dragenter", (event) => isFile(event) && show(1));
    addEventListener("dragleave", (event) => isFile(event) && show(-1));
    addEventListener("dragover", (event) => isFile(event) && event.preventDefault());
    addEventListener("drop", (event) => {
      if (!isFile(event)) return;
      event.preventDefault();
      depth = 0;
      byId("drop").hidden = true;
      this.#add([...event.dataTransfer.files]).catch(sayError);
    });
  }

  async #add(files) {
    const before = this.current;
    const added = [];
    for (const file of files) {
      if (file.size > this.mostBytes) {
        const remedy = "Name it when you start nucseg view, or give --max-upload-mb";
        say(`${file.name}: larger than ${figure(this.mostBytes / 1e6)} MB. ${remedy}`, { error: true });
        continue;
      }
      const bar = element("progress", { max: 1, value: 0 });
      const line = element("li", { className: "job" }, `Adding ${file.name}`, bar);
      byId("adding").append(line);
      try {
        added.push(await upload(file, (part) => (bar.value = part)));
      } catch (error) {
        sayError(error);
      } finally {
        line.remove();
      }
    }
    if (!added.length) return;
    await this.load();
    const isAway = this.current !== before; // the person looks at something else by now
    if (isAway || added.length > 1) say(added.length === 1 ? `${added[0].name} was added` : `${added.length} images were added`);
    if (!isAway) this.onSlide(added.at(-1).id);
  }
}

/** What tells results of one slide apart: the model and the day. */
function wordsOf({ model, created }) {
  const day = created && new Date(created).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  return ["nuclei", model && `by ${model}`, day].filter(Boolean).join(", ").replace("nuclei, by", "nuclei by");
}

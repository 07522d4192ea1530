// The page: what is open, and which panels and tools belong to it.

import { ComparePanel } from "./compare_panel.js";
import { CorrectPanel } from "./correct_panel.js";
import { byId, element, progressWords, say, sayError } from "./dom.js";
import { openDrawer, startDrawers } from "./drawers.js";
import { FindPanel } from "./find_panel.js";
import { ringOfView } from "./geometry.js";
import { JobsList } from "./jobs_list.js";
import { showHelp, startKeys } from "./keys.js";
import { LibraryList } from "./library_list.js";
import { nucleusAt, nucleusCard } from "./nucleus_card.js";
import { regionCard, regionFigures } from "./region_card.js";
import { ResultPanel } from "./result_panel.js";
import { savePanel } from "./save_panel.js";
import { Scene } from "./scene.js";
import { startTheme } from "./theme.js";
import { Tools } from "./tools.js";

const CLICKED = "#ffffff";
const REGION = "#ffd400";

class Page {
  constructor() {
    this.scene = new Scene();
    this.tools = new Tools((tool) => this.#use(tool));
    this.library = new LibraryList({
      onSlide: (id) => this.openSlide(id).catch(sayError),
      onResult: (id) => this.openResult(id).catch(sayError),
    });
    this.jobs = new JobsList({
      onDone: (job) => this.#jobDone(job).catch(sayError),
      onOpen: (result) => this.openResult(result).catch(sayError),
    });
    this.panel = null; // ResultPanel
    this.correct = null; // CorrectPanel
    this.nucleus = null; // the one that was clicked
    this.region = null; // [[x, y], …]
  }

  async start() {
    startTheme();
    startDrawers();
    startKeys(this.#keys());
    byId("panes").addEventListener("pointerdown", () => byId("panes").classList.remove("by-keys"));
    byId("help").addEventListener("click", () => showHelp());
    byId("zoom-in").addEventListener("click", () => this.#zoom(1.6));
    byId("zoom-out").addEventListener("click", () => this.#zoom(1 / 1.6));
    byId("zoom-home").addEventListener("click", () => this.scene.main?.pane.home());
    addEventListener("visibilitychange", () => {
      if (document.hidden) this.correct?.corrections.flush().catch(sayError);
    });
    addEventListener("beforeunload", (event) => {
      if (this.correct?.corrections.unsaved) event.preventDefault(); // the browser asks whether to leave
    });
    addEventListener("hashchange", () => this.#openAddress().catch(sayError));
    await Promise.all([this.library.load(), this.jobs.look()]);
    await this.#openAddress();
  }

  /** Show a slide; with the newest of its results, if there are. */
  async openSlide(id) {
    const newest = this.library.newestOf(id);
    await (newest ? this.openResult(newest.id) : this.#openAlone(id));
  }

  /** Show a slide, and what finds its nuclei. */
  async #openAlone(id) {
    this.#leave("slide", id);
    const slide = await this.#opened(this.scene.openSlide(id));
    this.#showTitle(slide.name);
    this.tools.show(false, false);
    const find = new FindPanel(slide, () => {
      say("It has been put into the queue. Its nuclei open when they are found");
      this.jobs.look().catch(sayError);
    });
    byId("right").replaceChildren(find.root);
  }

  /** Show a result: its slide with its nuclei. */
  async openResult(id) {
    this.#leave("result", id);
    const onBusy = (done, of) => this.#showTitle(progressWords("reading nuclei", done, of));
    const about = await this.#opened(this.scene.openResult(id, onBusy));
    this.#showTitle(about.name);
    const side = this.scene.main;
    const canCorrect = about.has_outlines && !about.truth;
    this.tools.show(true, canCorrect);
    this.panel = new ResultPanel(side);
    this.correct = canCorrect ? new CorrectPanel(side, () => this.#showShapes()) : null;
    const others = about.has_outlines ? this.library.othersOf(id) : [];
    const compare = others.length ? new ComparePanel(this.scene, others, this.panel.comparing()).root : null;
    this.card = element("div");
    this.regionPlace = element("div");
    const save = savePanel(about, () => this.#pictured());
    const again = about.slide && !about.truth ? this.#again(about.slide) : null;
    const parts = [this.panel.root, this.correct?.root, this.card, this.regionPlace, compare, save, again];
    byId("right").replaceChildren(...parts.filter(Boolean));
    side.drawing.onClick = (point, event) => this.#click(point, event).catch(sayError);
    this.tools.choose("move");
  }

  /** End what is shown; something else, "slide" or "result", is about to be. */
  #leave(kind, id) {
    history.replaceState(null, "", `#${kind}=${id}`);
    this.correct?.corrections.flush().catch(sayError);
    this.panel = this.correct = this.nucleus = this.region = null;
    this.library.mark(`${kind} ${id}`);
    byId("right").replaceChildren();
    this.#showTitle("opening …");
    byId("zoom").hidden = false;
    openDrawer(null);
  }

  /** Wait until something is open. What cannot be opened leaves an empty page, which says so. */
  async #opened(opening) {
    try {
      return await opening;
    } catch (error) {
      if (error.name !== "AbortError") {
        this.scene.close();
        this.tools.show(false, false);
        byId("zoom").hidden = true;
        this.#showTitle("it could not be opened");
      }
      throw error;
    }
  }

  /** A button to look for nuclei once more, such as with another model. */
  #again(slide) {
    const onclick = () => this.#openAlone(slide).catch(sayError);
    return element("section", {}, element("button", { className: "wide", onclick }, "Find nuclei again …"));
  }

  async #openAddress() {
    const [kind, id] = location.hash.slice(1).split("=");
    const has = (list) => list.some((one) => one.id === id);
    if (kind === "result" && has(this.library.results)) return this.openResult(id);
    if (kind === "slide" && has(this.library.slides)) return this.openSlide(id);
    const { results, slides } = this.library;
    if (results.length) return this.openResult(results[0].id);
    if (slides.length) return this.openSlide(slides[0].id);
  }

  async #jobDone(job) {
    await this.library.load();
    say(`${job.name}: the nuclei are found`);
    const [kind, shown] = this.library.current.split(" ");
    if (kind === "slide" && this.library.resultsOf(shown).some(({ id }) => id === job.result)) {
      await this.openResult(job.result);
    }
  }

  #use(tool) {
    const side = this.scene.main;
    this.correct?.setActive(tool === "correct");
    if (tool === "rectangle" || tool === "polygon") {
      side.drawing.use(tool, (points) => this.#count(points).catch(sayError));
    } else {
      side.drawing.use(null);
    }
    if (tool === "correct") {
      this.#showNucleus(null);
      openDrawer("right");
      byId("right").scrollTop = 0;
    }
  }

  async #click(point, event) {
    if (this.correct?.active) {
      await this.correct.select(point, event);
      return;
    }
    const side = this.scene.main;
    const nucleus = await nucleusAt(side.result.id, point);
    if (side === this.scene.main && this.panel) this.#showNucleus(nucleus);
  }

  #showNucleus(nucleus) {
    this.nucleus = nucleus;
    this.card?.replaceChildren(...(nucleus ? [nucleusCard(nucleus, () => this.#close(() => this.#showNucleus(null)))] : []));
    this.card?.scrollIntoView?.({ block: "nearest" });
    this.#showShapes();
  }

  /** Count the nuclei in a region. */
  async #count(points) {
    const side = this.scene.main;
    if (!side?.result) return;
    this.region = points;
    this.#showShapes();
    const figures = await regionFigures(side.result.id, points);
    if (this.region !== points) return;
    const remove = () => {
      this.region = null;
      this.regionPlace.replaceChildren();
      this.#showShapes();
    };
    this.regionPlace.replaceChildren(regionCard(figures, () => this.#close(remove)));
    this.regionPlace.scrollIntoView({ block: "nearest" });
  }

  /** Close a card by its button; the slide has the keyboard's focus then. */
  #close(remove) {
    remove();
    this.scene.main?.pane.focus();
  }

  #countView() {
    const { pane } = this.scene.main ?? {};
    if (pane && this.panel) this.#count(ringOfView(pane.view(), pane.size)).catch(sayError);
  }

  #showShapes() {
    const shapes = [...(this.correct?.shapes() ?? [])];
    if (this.region) shapes.push({ rings: [this.region], colour: REGION });
    if (this.nucleus?.outline) shapes.push({ rings: this.nucleus.outline, colour: CLICKED, filled: true });
    this.scene.main?.drawing.show(shapes);
  }

  #showTitle(text) {
    byId("title").replaceChildren(element("strong", {}, text));
    document.title = `${text} – nucseg view`;
  }

  #zoom(factor) {
    this.scene.main?.pane.zoomBy(factor);
  }

  #pictured() {
    return this.scene.sides.map((side) => ({ side, density: side === this.scene.main ? this.panel.shownDensity : null }));
  }

  /** Close an outline that is being drawn, or choose the nucleus in the middle. */
  #enter() {
    const { drawing, pane, result } = this.scene.main ?? {};
    if (drawing?.tool) {
      drawing.finish();
    } else if (result && this.panel) {
      const { x, y, w, h } = pane.view();
      this.#click([x + w / 2, y + h / 2]).catch(sayError);
    }
  }

  #escape() {
    if (openDrawer(null)) return;
    const drawing = this.scene.main?.drawing;
    if (!drawing || drawing.cancel()) return;
    if (this.correct?.active && (drawing.tool || this.correct.selected.length)) this.tools.choose("correct");
    else if (this.nucleus) this.#showNucleus(null);
    else this.tools.choose("move");
  }

  #keys() {
    const pan = (x, y) => () => {
      byId("panes").classList.add("by-keys");
      this.scene.main?.pane.panBy(x, y);
    };
    const inCorrect = (action) => () => {
      if (this.correct?.active) action(this.correct);
    };
    return {
      arrowleft: pan(-0.25, 0),
      arrowright: pan(0.25, 0),
      arrowup: pan(0, -0.25),
      arrowdown: pan(0, 0.25),
      "+": () => this.#zoom(1.6),
      "=": () => this.#zoom(1.6),
      "-": () => this.#zoom(1 / 1.6),
      "0": () => this.scene.main?.pane.home(),
      h: () => this.panel?.toggle("shown"),
      f: () => this.panel?.toggle("filled"),
      d: () => this.panel?.toggle("density"),
      v: () => this.tools.choose("move"),
      r: () => this.tools.choose("rectangle"),
      p: () => this.tools.choose("polygon"),
      "shift+r": () => this.#countView(),
      e: () => this.correct && this.tools.choose("correct"),
      delete: inCorrect((correct) => correct.remove()),
      backspace: inCorrect((correct) => correct.remove()),
      m: inCorrect((correct) => correct.merge().catch(sayError)),
      n: inCorrect((correct) => correct.draw()),
      k: inCorrect((correct) => correct.check()),
      "shift+k": inCorrect((correct) => correct.check(true)),
      "ctrl+z": inCorrect((correct) => correct.undo()),
      "ctrl+y": inCorrect((correct) => correct.redo()),
      "ctrl+shift+z": inCorrect((correct) => correct.redo()),
      enter: () => this.#enter(),
      escape: () => this.#escape(),
      "?": () => showHelp(),
    };
  }
}

new Page().start().catch(sayError);

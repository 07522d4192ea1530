// The nuclei over a slide. A worker draws those of the view and a margin into a bitmap; while the slide moves, that
// bitmap moves with it, so that the number of nuclei never slows it.

import { absolute } from "./api.js";
import { UNKNOWN } from "./colours.js";

const MARGIN = 0.25; // of the view, on each side
const WORST_STRETCH = 1.5; // of a bitmap, before it is drawn anew

export class NucleiLayer {
  /**
   * pane: the SlidePane that it lies over. result: its id. onState({busy}, {error} or {about}) hears what is drawn.
   */
  constructor(pane, result, onState) {
    this.pane = pane;
    this.result = result;
    this.onState = onState;
    this.visible = true;
    this.filled = false;
    this.hidden = []; // ids
    this.colouring = null;
    this.drawn = null; // {bitmap, rectangle, scale, dots: pixels of the bitmap a base pixel}
    this.number = 0;
    this.waiting = null; // the order that the worker has
    this.stale = true;
    this.worker = new Worker(new URL("nuclei_worker.js", import.meta.url), { type: "module" });
    this.worker.addEventListener("message", ({ data }) => this.#receive(data));
    this.worker.addEventListener("error", (event) => this.onState({ error: event.message || "drawing has failed" }));
    this.canvas = pane.addLayer();
    this.stop = pane.onView(() => this.draw());
  }

  /** Show them in other colours. */
  colour(colouring) {
    this.colouring = colouring;
    this.refresh();
  }

  setVisible(visible) {
    this.visible = visible;
    this.draw();
  }

  setFilled(filled) {
    this.filled = filled;
    this.refresh();
  }

  /** Leave out some nuclei, by ids. */
  hide(ids) {
    this.hidden = [...ids];
    this.refresh();
  }

  refresh() {
    this.stale = true;
    this.draw();
  }

  /** Lay the bitmap where the view is now, and order a new one where it does not fit. */
  draw() {
    const view = this.pane.view();
    if (!view) return;
    const context = this.pane.cleared(this.canvas);
    if (!this.visible) return;
    if (this.drawn) {
      const { bitmap, rectangle, dots } = this.drawn;
      const scale = view.scale * devicePixelRatio;
      context.drawImage(
        bitmap,
        (rectangle.x - view.x) * scale,
        (rectangle.y - view.y) * scale,
        (bitmap.width / dots) * scale,
        (bitmap.height / dots) * scale,
      );
    }
    if (this.#needed(view)) this.#order(view);
  }

  destroy() {
    this.stop();
    this.worker.terminate();
    this.waiting = null;
    this.drawn?.bitmap.close();
    this.canvas.remove();
  }

  #needed(view) {
    if (!this.colouring || this.waiting) return false;
    if (this.stale || !this.drawn) return true;
    const { rectangle, scale } = this.drawn;
    const slide = this.pane.size;
    const stretch = Math.max(view.scale / scale, scale / view.scale);
    const covers =
      Math.max(0, view.x) >= rectangle.x - 1e-6 &&
      Math.max(0, view.y) >= rectangle.y - 1e-6 &&
      Math.min(slide.width, view.x + view.w) <= rectangle.x + rectangle.w + 1e-6 &&
      Math.min(slide.height, view.y + view.h) <= rectangle.y + rectangle.h + 1e-6;
    return !covers || stretch > (this.pane.moving ? WORST_STRETCH : 1.01);
  }

  #order(view) {
    const { width, height } = this.pane.size;
    const left = Math.max(0, view.x - MARGIN * view.w);
    const top = Math.max(0, view.y - MARGIN * view.h);
    const right = Math.min(width, view.x + (1 + MARGIN) * view.w);
    const bottom = Math.min(height, view.y + (1 + MARGIN) * view.h);
    this.stale = false;
    if (right <= left || bottom <= top) return;
    const rectangle = { x: left, y: top, w: right - left, h: bottom - top };
    const scale = view.scale * devicePixelRatio; // pixels of the screen a base pixel
    const query = `x=${left}&y=${top}&w=${rectangle.w}&h=${rectangle.h}&scale=${1 / scale}${this.colouring.query}`;
    this.waiting = { number: ++this.number, rectangle, scale: view.scale, dots: scale };
    this.worker.postMessage({
      number: this.number,
      url: absolute(`api/results/${this.result}/nuclei?${query}`),
      rectangle,
      scale,
      width: Math.ceil(rectangle.w * scale),
      height: Math.ceil(rectangle.h * scale),
      colouring: this.colouring,
      unknown: UNKNOWN,
      lineWidth: (scale > 0.5 ? 1.6 : 1.1) * devicePixelRatio,
      filled: this.filled,
      hidden: this.hidden,
    });
  }

  #receive({ number, bitmap, about, busy, error }) {
    const order = this.waiting;
    if (order?.number !== number) return;
    this.waiting = null;
    if (busy) {
      this.onState({ busy });
      this.stale = true;
      setTimeout(() => this.draw(), 500);
      return;
    }
    if (error) {
      this.onState({ error });
      return;
    }
    this.drawn?.bitmap.close();
    this.drawn = { ...order, bitmap };
    this.onState({ about });
    this.draw();
  }
}

// What a person draws on a pane: rectangles and outlines, in base pixels; and the layer that shows drawn things.

const CLOSE = 12; // pixels to the first point that close an outline
const STILL = 5; // pixels that a hand moves while it clicks
const STROKE = 8; // points that are more than a corner

export class Drawing {
  constructor(pane) {
    this.pane = pane;
    this.tool = null; // "rectangle" or "polygon"
    this.done = null;
    this.points = [];
    this.start = null; // where the pointer was pressed, with a tool
    this.freehand = false; // the pointer draws, and does not click
    this.before = 0; // points before it was pressed
    this.shapes = []; // {rings, colour, dashed, filled}
    this.canvas = pane.addLayer();
    pane.onView(() => this.draw());
    const handlers = {
      "canvas-press": (event) => this.#press(event),
      "canvas-drag": (event) => this.#drag(event),
      "canvas-drag-end": (event) => this.#release(event),
      "canvas-click": (event) => this.#click(event),
      "canvas-double-click": (event) => this.#finish(event),
    };
    for (const [name, handler] of Object.entries(handlers)) pane.viewer.addHandler(name, handler);
    this.onClick = null; // (point) of a click without a tool
  }

  /** Let the person draw; `done(points)` gets [[x, y], …]. Without a tool the slide moves. */
  use(tool, done) {
    this.tool = tool;
    this.done = done;
    this.points = [];
    this.pane.root.classList.toggle("drawing", Boolean(tool));
    this.draw();
  }

  /** Begin again. Returns whether there was something. */
  cancel() {
    const had = this.points.length > 0;
    this.points = [];
    this.draw();
    return had;
  }

  /** Show shapes: {rings: [[[x, y], …], …], colour, dashed, filled}. */
  show(shapes) {
    this.shapes = shapes;
    this.draw();
  }

  draw() {
    const view = this.pane.view();
    if (!view) return;
    const context = this.pane.cleared(this.canvas);
    for (const shape of this.shapes) stroke(context, view, shape);
    if (this.points.length) {
      const closed = this.tool === "rectangle";
      stroke(context, view, { rings: [this.points], colour: "#ffffff", dashed: true, open: !closed });
    }
  }

  #press(event) {
    this.start = this.tool ? this.pane.toBase(event.position) : null;
    this.freehand = false;
    this.before = this.points.length;
  }

  #drag(event) {
    if (!this.tool || !this.start) return;
    event.preventDefaultAction = true;
    const point = this.pane.toBase(event.position);
    if (this.tool === "rectangle") {
      const [[left, top], [right, bottom]] = [this.start, point];
      this.points = [[left, top], [right, top], [right, bottom], [left, bottom]];
    } else {
      if (!this.freehand && this.#near(this.start, point, STILL)) return;
      this.freehand = true;
      this.points.push(point);
    }
    this.draw();
  }

  #release(event) {
    if (!this.tool || !this.points.length) return;
    event.preventDefaultAction = true;
    const isStroke = this.freehand && this.points.length - this.before > STROKE;
    if (this.tool === "rectangle" || isStroke) this.#end();
  }

  #click(event) {
    if (!event.quick) return;
    const point = this.pane.toBase(event.position);
    if (!this.tool) {
      this.onClick?.(point, event.originalEvent);
      return;
    }
    event.preventDefaultAction = true;
    if (this.tool !== "polygon") return;
    if (this.points.length > 2 && this.#near(this.points[0], point, CLOSE)) {
      this.#end();
      return;
    }
    this.points.push(point);
    this.draw();
  }

  #finish(event) {
    if (this.tool !== "polygon") return;
    event.preventDefaultAction = true;
    this.finish();
  }

  /** Close the outline that has been begun. */
  finish() {
    if (this.tool === "polygon" && this.points.length > 2) this.#end();
  }

  #near([x, y], [u, v], pixels) {
    return Math.hypot(x - u, y - v) * this.pane.view().scale < pixels;
  }

  #end() {
    const points = simplified(this.points, 0.5 / this.pane.view().scale);
    this.points = [];
    this.draw();
    if (points.length > 2) this.done(points);
  }
}

/** Without points that are nearer to the one before than `distance`. */
function simplified(points, distance) {
  const kept = [];
  for (const point of points) {
    const before = kept.at(-1);
    if (!before || Math.hypot(point[0] - before[0], point[1] - before[1]) > distance) kept.push(point);
  }
  return kept;
}

function stroke(context, view, { rings, colour, dashed = false, filled = false, open = false }) {
  const scale = view.scale * devicePixelRatio;
  context.beginPath();
  for (const ring of rings) {
    ring.forEach(([x, y], i) => {
      const place = [(x - view.x) * scale, (y - view.y) * scale];
      if (i) context.lineTo(...place);
      else context.moveTo(...place);
    });
    if (!open) context.closePath();
  }
  context.setLineDash([]);
  context.lineJoin = "round";
  context.lineWidth = 4 * devicePixelRatio;
  context.strokeStyle = "rgb(0 0 0 / 55%)";
  context.stroke();
  context.lineWidth = 2 * devicePixelRatio;
  context.strokeStyle = colour;
  if (dashed) context.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
  context.stroke();
  if (filled) {
    context.globalAlpha = 0.22;
    context.fillStyle = colour;
    context.fill("evenodd");
    context.globalAlpha = 1;
  }
}

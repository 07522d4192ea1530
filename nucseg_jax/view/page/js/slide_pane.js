// One slide on the screen: OpenSeadragon, layers over it, and coordinates in base pixels.

import { element, sayError } from "./dom.js";
import { ScaleBar } from "./scale_bar.js";

const OpenSeadragon = window.OpenSeadragon;
const BLANK = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

export class SlidePane {
  /** parent: where it goes. shown: {slide: id or null, name, width, height, mpp or null}. */
  constructor(parent, shown) {
    this.size = { width: shown.width, height: shown.height };
    this.moving = false;
    this.gone = false;
    this.withoutMap = false; // without the small map of the slide
    this.listeners = new Set();
    const place = element("div", { className: "slide" });
    this.name = element("div", { className: "name" }, shown.name);
    this.status = element("div", { className: "status", role: "status" });
    this.root = element("div", { className: "pane" }, place, this.name, this.status);
    parent.append(this.root);
    this.viewer = OpenSeadragon({
      element: place,
      tileSources: shown.slide ? `api/slides/${shown.slide}.dzi` : blank(shown),
      drawer: "canvas",
      showNavigationControl: false,
      showNavigator: Boolean(shown.slide),
      navigatorPosition: "TOP_RIGHT",
      navigatorSizeRatio: 0.16,
      navigatorBackground: "#ffffff",
      navigatorOpacity: 1,
      navigatorDisplayRegionColor: "#6a3fb5",
      maxZoomPixelRatio: 8,
      minZoomImageRatio: 0.7,
      visibilityRatio: 0.4,
      animationTime: 0.4,
      springStiffness: 10,
      immediateRender: false,
      imageLoaderLimit: 6,
      timeout: 60000,
      clickTimeThreshold: 2000, // milliseconds that a click may last
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: false },
      gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: false },
      gestureSettingsPen: { clickToZoom: false, dblClickToZoom: false },
    });
    this.viewer.addHandler("canvas-key", (event) => (event.preventDefaultAction = true)); // keys.js has ours
    this.viewer.addHandler("animation-start", () => (this.moving = true));
    this.viewer.addHandler("animation-finish", () => {
      this.moving = false;
      this.#tell();
    });
    for (const event of ["update-viewport", "open", "resize"]) this.viewer.addHandler(event, () => this.#tell());
    this.opened = new Promise((resolve) => {
      this.viewer.addOnceHandler("open", resolve);
      this.viewer.addOnceHandler("open-failed", ({ message }) => {
        sayError(new Error(`${shown.name}: the slide cannot be shown: ${message}`));
        this.viewer.open(blank(shown));
      });
      this.settle = resolve;
    });
    this.viewer.canvas.setAttribute("role", "application");
    this.viewer.canvas.setAttribute("aria-label", `The slide ${shown.name}. Keys: see Help`);
    if (shown.mpp) this.scaleBar = new ScaleBar(this, shown.mpp);
  }

  /** What is on the screen: {x, y, w, h} in base pixels, and scale, CSS pixels a base pixel; null before it opens. */
  view() {
    if (this.gone || !this.viewer.world.getItemCount()) return null;
    const { x, y, width, height } = this.viewer.world
      .getItemAt(0)
      .viewportToImageRectangle(this.viewer.viewport.getBounds(true));
    return { x, y, w: width, h: height, scale: this.viewer.viewport.getContainerSize().x / width };
  }

  /** Be told when the view may have changed. Returns what ends it. */
  onView(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** A canvas over the slide that pointers do not feel. */
  addLayer() {
    const canvas = element("canvas", { className: "layer" });
    this.viewer.canvas.append(canvas);
    return canvas;
  }

  /** The context of a layer, as large as the pane and empty. */
  cleared(canvas) {
    const { clientWidth, clientHeight } = this.viewer.canvas;
    const width = Math.round(clientWidth * devicePixelRatio);
    const height = Math.round(clientHeight * devicePixelRatio);
    const context = canvas.getContext("2d");
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    } else {
      context.clearRect(0, 0, width, height);
    }
    return context;
  }

  /** The place in base pixels of one in the pane, as OpenSeadragon's events have it. */
  toBase(position) {
    const view = this.view();
    return [view.x + position.x / view.scale, view.y + position.y / view.scale];
  }

  /** Lay a picture over the slide, {url, width, height} in base pixels from the top left corner. */
  addOverlay({ url, width, height }, opacity) {
    const picture = element("img", { className: "density", src: url, alt: "" });
    picture.style.opacity = opacity;
    const item = this.viewer.world.getItemAt(0);
    this.viewer.addOverlay({ element: picture, location: item.imageToViewportRectangle(0, 0, width, height) });
    return picture;
  }

  removeOverlay(picture) {
    this.viewer.removeOverlay(picture);
  }

  zoomBy(factor) {
    this.viewer.viewport.zoomBy(factor).applyConstraints();
  }

  home() {
    this.viewer.viewport.goHome();
  }

  /** Move by parts of the view. */
  panBy(x, y) {
    const { width, height } = this.viewer.viewport.getBounds();
    this.viewer.viewport.panBy(new OpenSeadragon.Point(x * width, y * height)).applyConstraints();
  }

  /** Go where another pane is. */
  follow(other) {
    const { viewport } = this.viewer;
    viewport.zoomTo(other.viewer.viewport.getZoom(), undefined, true);
    viewport.panTo(other.viewer.viewport.getCenter(), true);
  }

  /** Show a rectangle {x, y, w, h} in base pixels. */
  fit({ x, y, w, h }) {
    const item = this.viewer.world.getItemAt(0);
    this.viewer.viewport.fitBoundsWithConstraints(item.imageToViewportRectangle(x, y, w, h));
  }

  /** Give it the keyboard's focus. */
  focus() {
    this.viewer.canvas.focus({ preventScroll: true });
  }

  /** The slide as it is drawn now. */
  picture() {
    return this.viewer.drawer.canvas;
  }

  destroy() {
    this.gone = true;
    this.settle(); // who waits for it to open goes on
    this.listeners.clear();
    this.viewer.destroy();
    this.root.remove();
  }

  #tell() {
    const view = this.view();
    if (view && this.viewer.navigator) {
      const isWhole = view.x <= 0 && view.y <= 0 && view.x + view.w >= this.size.width && view.y + view.h >= this.size.height;
      this.viewer.navigator.element.style.visibility = isWhole || this.withoutMap ? "hidden" : "visible";
    }
    for (const listener of this.listeners) listener();
  }
}

/** A slide of which only the size is known. */
function blank({ width, height }) {
  return { width, height, tileSize: Math.max(width, height), minLevel: 0, maxLevel: 0, getTileUrl: () => BLANK };
}

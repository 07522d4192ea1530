// The scale bar of a pane: a round length of some 120 pixels.

import { element } from "./dom.js";

const WIDTH = 120; // pixels, at most

/** The longest round length, µm, that takes at most `pixels`; {um, text, pixels}. */
export function roundLength(umPerPixel, pixels = WIDTH) {
  const most = umPerPixel * pixels;
  const power = 10 ** Math.floor(Math.log10(most));
  const um = [5, 2, 1].find((digit) => digit * power <= most) * power;
  const text = um >= 1000 ? `${um / 1000} mm` : `${Number(um.toPrecision(1))} µm`;
  return { um, text, pixels: um / umPerPixel };
}

export class ScaleBar {
  /** mpp: µm a base pixel. */
  constructor(pane, mpp) {
    this.mpp = mpp;
    this.text = element("span");
    this.bar = element("i");
    this.root = element("div", { className: "scale-bar", "aria-label": "Scale" }, this.text, this.bar);
    pane.root.append(this.root);
    pane.onView(() => {
      const view = pane.view();
      if (view) this.#show(roundLength(this.mpp / view.scale));
    });
  }

  #show({ text, pixels }) {
    this.text.textContent = text;
    this.bar.style.width = `${pixels}px`;
  }
}

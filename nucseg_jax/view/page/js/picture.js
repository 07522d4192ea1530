// The view as a PNG: the slide, what lies over it, and the scale bar.

import { element } from "./dom.js";
import { roundLength } from "./scale_bar.js";

/** Save what the sides of the scene show; sides: [{side, density: {picture, place, opacity} or null}]. */
export async function savePicture(name, sides) {
  const parts = sides.map(({ side, density }) => drawn(side, density));
  const canvas = element("canvas", {
    width: parts.reduce((sum, part) => sum + part.width, 0),
    height: parts[0].height,
  });
  const context = canvas.getContext("2d");
  let left = 0;
  for (const part of parts) {
    context.drawImage(part, left, 0);
    left += part.width;
  }
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const url = URL.createObjectURL(blob);
  element("a", { href: url, download: `${name}_view.png` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

function drawn({ pane, layer, drawing, result }, density) {
  const { width, height } = drawing.canvas;
  const canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d");
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, width, height);
  context.drawImage(pane.picture(), 0, 0, width, height);
  const view = pane.view();
  const scale = view.scale * devicePixelRatio;
  if (density) {
    context.globalAlpha = density.opacity;
    context.imageSmoothingEnabled = false;
    context.drawImage(density.picture, -view.x * scale, -view.y * scale, density.place.width * scale, density.place.height * scale);
    context.globalAlpha = 1;
  }
  if (layer) context.drawImage(layer.canvas, 0, 0);
  context.drawImage(drawing.canvas, 0, 0);
  const mpp = result?.mpp ?? pane.scaleBar?.mpp;
  if (mpp) drawScaleBar(context, height, roundLength(mpp / view.scale));
  return canvas;
}

function drawScaleBar(context, height, { text, pixels }) {
  const dot = devicePixelRatio;
  const [left, bottom, width] = [16 * dot, height - 16 * dot, pixels * dot];
  context.fillStyle = "rgb(255 255 255 / 88%)";
  context.fillRect(left - 8 * dot, bottom - 30 * dot, width + 16 * dot, 38 * dot);
  context.fillStyle = context.strokeStyle = "#111111";
  context.font = `${13 * dot}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.fillText(text, left + width / 2, bottom - 12 * dot);
  context.lineWidth = 2 * dot;
  context.beginPath();
  context.moveTo(left, bottom - 6 * dot);
  context.lineTo(left, bottom);
  context.lineTo(left + width, bottom);
  context.lineTo(left + width, bottom - 6 * dot);
  context.stroke();
}

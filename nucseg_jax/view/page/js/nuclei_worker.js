// Fetches the nuclei of a rectangle and draws them into a bitmap, away from the thread that moves the slide.

import { readNuclei } from "./nuclei_bytes.js";

let last = { url: "", nuclei: null }; // the same nuclei are drawn again in other colours, or with some hidden

self.addEventListener("message", async ({ data: order }) => {
  try {
    const answer = await nucleiOf(order.url);
    if (answer.busy) {
      self.postMessage({ number: order.number, busy: answer.busy });
      return;
    }
    const bitmap = draw(answer, order);
    const { outlines, count, touching } = answer;
    self.postMessage({ number: order.number, bitmap, about: { outlines, count, touching } }, [bitmap]);
  } catch (error) {
    const isLost = error instanceof TypeError; // of fetch
    self.postMessage({ number: order.number, error: isLost ? "nucseg view does not answer: it has ended" : error.message });
  }
});

async function nucleiOf(url) {
  if (last.url === url) return last.nuclei;
  const response = await fetch(url);
  if (response.status === 503) return { busy: await response.json() };
  if (!response.ok) throw new Error((await response.json()).error);
  const nuclei = readNuclei(await response.arrayBuffer());
  last = { url, nuclei };
  return nuclei;
}

/** order: {rectangle, scale, width, height (of the bitmap), colouring, unknown, lineWidth, filled, hidden}. */
function draw(nuclei, order) {
  const canvas = new OffscreenCanvas(order.width, order.height);
  const context = canvas.getContext("2d");
  const groups = grouped(nuclei, order.colouring, new Set(order.hidden));
  const place = { scale: order.scale, left: order.rectangle.x, top: order.rectangle.y };
  const colours = [...order.colouring.colours, order.unknown];
  context.lineJoin = "round";
  groups.forEach((members, group) => {
    if (!members.length) return;
    context.fillStyle = context.strokeStyle = colours[group];
    if (nuclei.outlines) drawOutlines(context, nuclei, members, place, order);
    else drawDots(context, nuclei, members, place, order);
  });
  return canvas.transferToImageBitmap();
}

/** The nuclei of each colour; the last group has those without a value. */
function grouped(nuclei, { colours, low, middle, high, categories }, hidden) {
  const groups = Array.from({ length: colours.length + 1 }, () => []);
  const half = categories ? 0 : colours.length / 2;
  const [below, above] = [middle - low || 1, high - middle || 1];
  const step = (value) => half + ((value - middle) / (value < middle ? below : above)) * half;
  for (let i = 0; i < nuclei.count; i++) {
    if (hidden.size && hidden.has(nuclei.ids[i])) continue;
    const value = nuclei.values[i];
    let group = colours.length;
    if (colours.length === 1) group = 0;
    else if (value === value) group = Math.max(0, Math.min(colours.length - 1, Math.floor(categories ? value : step(value))));
    groups[group].push(i);
  }
  return groups;
}

function drawOutlines(context, nuclei, members, { scale, left, top }, { lineWidth, filled }) {
  const { ringStart, pointStart, points } = nuclei;
  context.lineWidth = lineWidth;
  context.beginPath();
  for (const i of members) {
    for (let ring = ringStart[i]; ring < ringStart[i + 1]; ring++) {
      const end = pointStart[ring + 1];
      let point = pointStart[ring];
      context.moveTo((points[2 * point] - left) * scale, (points[2 * point + 1] - top) * scale);
      for (point++; point < end; point++) {
        context.lineTo((points[2 * point] - left) * scale, (points[2 * point + 1] - top) * scale);
      }
      context.closePath();
    }
  }
  if (filled) {
    context.globalAlpha = 0.3;
    context.fill("evenodd");
    context.globalAlpha = 1;
  }
  context.stroke();
}

function drawDots(context, nuclei, members, { scale, left, top }, { lineWidth }) {
  const side = Math.max(1.5, lineWidth * 1.4);
  const { centroids } = nuclei;
  for (const i of members) {
    context.fillRect((centroids[2 * i] - left) * scale - side / 2, (centroids[2 * i + 1] - top) * scale - side / 2, side, side);
  }
}

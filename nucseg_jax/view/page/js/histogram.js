// A histogram as SVG.

import { figure, svg } from "./dom.js";

const [WIDTH, HEIGHT, FOOT] = [260, 74, 14];

/** edges: [bins + 1], counts: [bins]. The first and the last bin have what lies beyond. */
export function histogram(edges, counts, name) {
  const most = Math.max(1, ...counts);
  const step = WIDTH / counts.length;
  const bars = counts.map((count, i) => {
    const height = (count / most) * (HEIGHT - FOOT);
    const bar = svg("rect", { x: i * step, y: HEIGHT - FOOT - height, width: Math.max(step - 1, 1), height });
    bar.append(svg("title", {}, `${figure(edges[i])} to ${figure(edges[i + 1])}: ${count}`));
    return bar;
  });
  const foot = svg("line", { x1: 0, x2: WIDTH, y1: HEIGHT - FOOT, y2: HEIGHT - FOOT });
  const low = svg("text", { x: 0, y: HEIGHT - 2 }, `≤ ${figure(edges[0])}`);
  const high = svg("text", { x: WIDTH, y: HEIGHT - 2, "text-anchor": "end" }, `≥ ${figure(edges.at(-1))}`);
  return svg(
    "svg",
    { class: "histogram", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Histogram: ${name}` },
    ...bars,
    foot,
    low,
    high,
  );
}

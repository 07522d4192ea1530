// Points and rings in base pixels.

/** Whether a ring [[x, y], …] holds a point. */
export function isInside(ring, [x, y]) {
  let inside = false;
  for (let i = 0, before = ring.length - 1; i < ring.length; before = i++) {
    const [[u, v], [s, t]] = [ring[i], ring[before]];
    if (v > y !== t > y && x < ((s - u) * (y - v)) / (t - v) + u) inside = !inside;
  }
  return inside;
}

/** The rectangle of a view as a ring, a little inside of it. */
export function ringOfView({ x, y, w, h }, { width, height }) {
  const [left, top] = [Math.max(0, x), Math.max(0, y)];
  const [right, bottom] = [Math.min(width, x + w), Math.min(height, y + h)];
  return [[left, top], [right, top], [right, bottom], [left, bottom]];
}

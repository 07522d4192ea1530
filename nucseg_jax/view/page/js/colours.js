// Colours of nuclei. They must stand out from pink and violet, and differ for people who do not tell red from green.

/** Of one colour for all. */
export const PLAIN = "#14e0ff";

/** Where a nucleus has no value. */
export const UNKNOWN = "#9a9a9a";

/** From small to large. */
const SCALE = [
  [0, 150, 255],
  [0, 215, 220],
  [110, 235, 110],
  [240, 245, 40],
  [255, 150, 0],
];

/** How many steps a scale is drawn in. */
export const STEPS = 32;

const between = (colours, part) => {
  const place = part * (colours.length - 1);
  const first = Math.min(Math.floor(place), colours.length - 2);
  return colours[first].map((value, channel) =>
    Math.round(value + (colours[first + 1][channel] - value) * (place - first)),
  );
};

/** CSS colours at even steps of a scale of [r, g, b]. */
export const stepsOf = (colours, count = STEPS) =>
  Array.from({ length: count }, (_, step) => `rgb(${between(colours, step / (count - 1)).join(" ")})`);

export const SCALE_STEPS = stepsOf(SCALE);

/** What became of a nucleus in a comparison; the place is the number that the server sends. */
export const OUTCOMES = [
  { name: "right", words: "Found by both", colour: "#3ddc84" },
  { name: "merged", words: "Merged", colour: "#ffb300" },
  { name: "split", words: "Split", colour: "#00c8ff" },
  { name: "missed", words: "Missed", colour: "#ff3d57" },
  { name: "false", words: "False", colour: "#e040fb" },
];

/**
 * How nuclei of a result are coloured.
 *
 * Half of the nuclei have colours of the lower half, so that a few large ones do not make all others look equal.
 * Returns {query, colours, low, middle, high, categories}: the query of their values, and how a value chooses a
 * colour: low has the first, middle the one in the middle, high the last.
 */
export function colouring(column, ranges, quantiles) {
  const range = ranges[column];
  if (!range) return { query: "", colours: [PLAIN], low: 0, middle: 0.5, high: 1, categories: false };
  const [low, middle, high] = [0.01, 0.5, 0.99].map((part) => range[quantiles.indexOf(part)]);
  return { query: `&value=${column}`, colours: SCALE_STEPS, low, middle, high, categories: false };
}

/** The same for a comparison. */
export const outcomeColouring = (other, role) => ({
  query: `&against=${other}&role=${role}`,
  colours: OUTCOMES.map((outcome) => outcome.colour),
  low: 0,
  middle: OUTCOMES.length / 2,
  high: OUTCOMES.length,
  categories: true,
});

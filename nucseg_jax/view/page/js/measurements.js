// Measurements by their names in files, in a pathologist's words.

const WORDS = {
  area_um2: ["Area", "µm²"],
  perimeter_um: ["Perimeter", "µm"],
  major_axis_um: ["Length", "µm"],
  minor_axis_um: ["Width", "µm"],
  circularity: ["Circularity", ""],
  solidity: ["Solidity", ""],
  eccentricity: ["Eccentricity", ""],
  hematoxylin_density: ["Hematoxylin (mean OD)", ""],
  hematoxylin_contrast: ["Chromatin contrast", "OD²"],
  hematoxylin_entropy_bits: ["Chromatin entropy", "bits"],
  eosin_ring_density: ["Eosin around it (mean OD)", ""],
  probability: ["Certainty of the network", ""],
  local_density_per_mm2: ["Nuclei around it", "/mm²"],
  touches_border: ["At the slide's edge", ""],
};

/** What a nucleus can be coloured by, the usual ones first. */
export const COLOUR_CHOICES = ["area_um2", "hematoxylin_density", "local_density_per_mm2", "probability"];

/** The name of a measurement, without its unit. */
export const label = (column) => WORDS[column]?.[0] ?? column.replaceAll("_", " ");

/** Its unit, or "". */
export const unit = (column) => WORDS[column]?.[1] ?? "";

/** The name with the unit. */
export const title = (column) => (unit(column) ? `${label(column)}, ${unit(column)}` : label(column));

/** Those of a result, as they are listed. */
export function ordered(columns) {
  const known = Object.keys(WORDS);
  const place = (name) => (known.includes(name) ? known.indexOf(name) : known.length);
  return [...columns].sort((a, b) => place(a) - place(b));
}

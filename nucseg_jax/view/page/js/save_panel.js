// What can be saved: the result's files, the view as a picture, a summary.

import { absolute } from "./api.js";
import { element, sayError } from "./dom.js";
import { savePicture } from "./picture.js";

const WORDS = {
  "nuclei.geojson": "Outlines for QuPath (GeoJSON)",
  "nuclei.geojson.gz": "Outlines for QuPath (GeoJSON, packed)",
  "nuclei.csv": "Measurements (CSV)",
  "nuclei.parquet": "Measurements and outlines (Parquet)",
  "neighbours.csv": "Neighbours (CSV)",
  "neighbours.parquet": "Neighbours (Parquet)",
  "labels.tif": "Label map (TIFF)",
  "labels.ome.tif": "Label map (OME-TIFF)",
  "overlay.png": "Picture of the outlines (PNG)",
  "density.png": "Density map (PNG)",
  "density.tif": "Density map (TIFF)",
  "summary.json": "All figures (JSON)",
};

/** panels: what of the page is in the picture ({side, panel}, …). */
export function savePanel(about, panels) {
  const base = `api/results/${about.id}`;
  const link = (href, words) => element("a", { className: "file", href: absolute(href), download: "" }, words);
  const files = about.files.map((name) => link(`${base}/files/${name}`, WORDS[name] ?? name));
  return element(
    "section",
    {},
    element("h2", {}, "Save"),
    element("button", { className: "wide", onclick: () => savePicture(about.name, panels()).catch(sayError) }, "This view as a picture"),
    element("div", { className: "files" }, about.truth ? null : link(`${base}/summary.html`, "Summary on one page"), ...files),
  );
}

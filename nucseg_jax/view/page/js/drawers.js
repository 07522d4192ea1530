// On a narrow screen the panels are drawers over the slide: one at a time.

import { byId } from "./dom.js";

const SIDES = ["left", "right"];

export function startDrawers() {
  for (const side of SIDES) {
    byId(`toggle-${side}`).addEventListener("click", () => openDrawer(isOpen(side) ? null : side));
  }
}

/** Open one, "left" or "right", and close the other; null: close both. Returns whether one was open. */
export function openDrawer(side) {
  const wasOpen = SIDES.some(isOpen);
  for (const one of SIDES) {
    byId(one).classList.toggle("shown", one === side);
    byId(`toggle-${one}`).setAttribute("aria-expanded", String(one === side));
  }
  return wasOpen;
}

const isOpen = (side) => byId(side).classList.contains("shown");

// The toolbar: which tool is on.

import { byId } from "./dom.js";

export class Tools {
  /** onChange(tool) hears of "move", "rectangle", "polygon" or "correct". */
  constructor(onChange) {
    this.onChange = onChange;
    this.tool = "move";
    for (const button of this.#buttons()) button.addEventListener("click", () => this.choose(button.dataset.tool));
  }

  choose(tool) {
    if (byId("tools").hidden) return;
    this.tool = tool;
    for (const button of this.#buttons()) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
    this.onChange(tool);
  }

  /** Show the toolbar where there are nuclei; tools that cannot be used are grey. */
  show(isResult, canCorrect) {
    byId("tools").hidden = !isResult;
    for (const button of this.#buttons()) button.disabled = button.dataset.tool === "correct" && !canCorrect;
  }

  #buttons() {
    return byId("tools").querySelectorAll("button");
  }
}

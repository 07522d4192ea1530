// What keys do, and the page that says so.

import { ask, element } from "./dom.js";

const HELP = [
  ["Arrows", "Move the slide"],
  ["+ −", "Zoom in and out"],
  ["0", "Show the whole slide"],
  ["Enter", "Choose the nucleus in the middle, where the circle is"],
  ["H", "Hide and show nuclei"],
  ["F", "Fill nuclei"],
  ["D", "Density map"],
  ["V", "Move, and click nuclei"],
  ["R", "Count in a rectangle"],
  ["P", "Count in an outline: draw, or click its corners and press Enter"],
  ["Shift R", "Count in what is on the screen"],
  ["E", "Correct nuclei"],
  ["Del, M, N", "There: delete, merge, draw"],
  ["K", "There: mark a region as checked"],
  ["Ctrl Z, Ctrl Y", "There: undo, redo"],
  ["Esc", "Call off"],
];

/** What of the page is for typing. */
const isTyping = (target) => target.closest?.("input:not([type=checkbox]), select, textarea, dialog[open]");

/** Whether Enter presses what has the focus. */
const isPressed = ({ key, target }) => key === "Enter" && target.closest?.("button, a, summary");

/** actions: key → function, such as "h", "shift+r", "ctrl+z", "arrowleft". */
export function startKeys(actions) {
  addEventListener("keydown", (event) => {
    if (isTyping(event.target) || isPressed(event)) return;
    const control = event.ctrlKey || event.metaKey;
    const letter = event.key.length === 1 && event.key.toLowerCase() !== event.key.toUpperCase();
    const shift = event.shiftKey && (letter || event.key.startsWith("Arrow"));
    const name = `${control ? "ctrl+" : ""}${shift ? "shift+" : ""}${event.key.toLowerCase()}`;
    const action = event.altKey ? null : actions[name];
    if (!action) return;
    event.preventDefault();
    action();
  });
}

export function showHelp() {
  const lines = HELP.map(([keys, words]) =>
    element("tr", {}, element("th", {}, ...keys.split(", ").flatMap((key) => [element("kbd", {}, key), " "])), element("td", {}, words)),
  );
  const content = [
    element("table", {}, element("tbody", {}, ...lines)),
    element("p", { className: "quiet" }, "For research, not for diagnosis. Images and results stay on this machine."),
  ];
  return ask("Keys", content, [["close", "Close"]]);
}

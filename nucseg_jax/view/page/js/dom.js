// Elements in few words, numbers and times as people read them.

/** An element: its tag, its properties (on… are listeners, data-… and aria-… attributes), its children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export const byId = (id) => document.getElementById(id);

/** A number with three digits that count: 1,234; 12.3; 0.0123. */
export function figure(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (Number.isInteger(value) || Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
  return value.toLocaleString("en", { maximumSignificantDigits: 3 });
}

/** How far something is, such as "reading nuclei: 20 of 1,932"; without the end where nobody knows it. */
export const progressWords = (what, done, of) => `${what}: ${figure(done)}${of ? ` of ${figure(of)}` : ""}`;

/** Seconds as "40 s", "3 min" or "1 h 20 min". */
export function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Show a line that goes away by itself; an error stays until it is closed. The same line is shown once. */
export function say(text, { error = false } = {}) {
  const close = element("button", { className: "plain", "aria-label": "Close", onclick: () => box.remove() }, "×");
  const box = element("div", { className: error ? "message error" : "message" }, element("span", {}, text), close);
  const isSame = ({ firstChild }) => firstChild.textContent === text;
  [...byId("messages").children].filter(isSame).forEach((one) => one.remove());
  byId("messages").append(box);
  if (!error) setTimeout(() => box.remove(), 6000);
}

/** Say what went wrong, unless it was called off. */
export function sayError(error) {
  if (error.name === "AbortError") return;
  say(error.message, { error: true });
  if (!error.status) console.error(error);
}

/**
 * A window in the middle of the page. Gives the value of the button that closes it, "" where that was Escape.
 *
 * buttons: [[value, words], …], the usual one last.
 */
export async function ask(title, content, buttons) {
  const dialog = byId("dialog");
  const closed = () => new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.open) {
    dialog.close();
    await closed();
  }
  const made = buttons.map(([value, words], i) =>
    element("button", { value, className: i === buttons.length - 1 ? "main" : "" }, words),
  );
  const row = element("div", { className: "row" }, ...made);
  dialog.replaceChildren(element("form", { method: "dialog" }, element("h2", { id: "dialog-title" }, title), ...content, row));
  dialog.returnValue = "";
  dialog.showModal();
  await closed();
  return dialog.returnValue;
}

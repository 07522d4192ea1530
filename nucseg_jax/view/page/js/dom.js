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

/** Seconds as "40 s", "3 min" or "1 h 20 min". */
export function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Show a line that goes away by itself; an error stays until it is closed. */
export function say(text, { error = false } = {}) {
  const close = element("button", { className: "plain", "aria-label": "Close", onclick: () => box.remove() }, "×");
  const box = element("div", { className: error ? "message error" : "message" }, element("span", {}, text), close);
  byId("messages").append(box);
  if (!error) setTimeout(() => box.remove(), 6000);
}

/** Say what went wrong, unless it was called off. */
export function sayError(error) {
  if (error.name === "AbortError") return;
  say(error.message, { error: true });
  if (!error.status) console.error(error);
}

/** A question in the middle of the page. Gives what `answer(form)` makes of it, or null when it is called off. */
export function ask(title, content, action, answer = () => true) {
  const dialog = byId("dialog");
  return new Promise((resolve) => {
    let result = null;
    const form = element(
      "form",
      {
        method: "dialog",
        onsubmit: () => {
          result = answer(form);
        },
      },
      element("h2", {}, title),
      ...content,
      element(
        "div",
        { className: "row" },
        action ? element("button", { type: "button", onclick: () => dialog.close() }, "Cancel") : null,
        element("button", { className: "main" }, action || "Close"),
      ),
    );
    dialog.replaceChildren(form);
    dialog.addEventListener("close", () => resolve(result), { once: true });
    dialog.showModal();
  });
}

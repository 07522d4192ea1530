// Requests to the server. All addresses are relative: the first part of the page's path is the token.

/** What the server refuses, in its own words. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** The absolute address of one of ours, for workers, which have another base. */
export const absolute = (path) => new URL(path, document.baseURI).href;

const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

async function failure(response) {
  let text = `the server answered ${response.status}`;
  try {
    const body = await response.text();
    text = response.headers.get("content-type")?.includes("json") ? JSON.parse(body).error : body.trim() || text;
  } catch {
    // The answer is no text: the status says enough.
  }
  return new ApiError(text, response.status);
}

async function request(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("nucseg view does not answer: it has ended. Start it again in the terminal", 0);
  }
}

/**
 * Fetch JSON. While the server is still reading (503) it is asked again; `onBusy(done, of)` hears how far it is.
 */
export async function getJson(path, { signal, onBusy } = {}) {
  for (;;) {
    const response = await request(path, { signal });
    if (response.status === 503) {
      const { done, of, error } = await response.json();
      if (done === undefined) throw new ApiError(error, 503);
      onBusy?.(done, of);
      await wait(0.5);
      if (signal?.aborted) throw new DOMException("called off", "AbortError");
      continue;
    }
    if (!response.ok) throw await failure(response);
    return response.json();
  }
}

/** Send JSON and get JSON. */
export async function sendJson(method, path, content, { signal } = {}) {
  const headers = { "Content-Type": "application/json" };
  const response = await request(path, { method, headers, body: JSON.stringify(content), signal });
  if (!response.ok) throw await failure(response);
  return response.json();
}

/** Send a file as it is; `onPart(part)` hears how much has gone, 0 to 1. */
export function upload(file, onPart) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest(); // fetch cannot say how much has gone
    sending.open("POST", `api/uploads?name=${encodeURIComponent(file.name)}`);
    sending.responseType = "json";
    sending.upload.addEventListener("progress", (event) => onPart(event.loaded / Math.max(event.total, 1)));
    sending.addEventListener("load", () => {
      if (sending.status === 201) resolve(sending.response);
      else reject(new ApiError(sending.response?.error ?? `the server answered ${sending.status}`, sending.status));
    });
    sending.addEventListener("error", () => reject(new ApiError(`${file.name} was not taken: the server stopped reading`, 0)));
    sending.send(file);
  });
}

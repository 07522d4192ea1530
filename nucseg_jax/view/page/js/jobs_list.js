// The queue: how far each job is, with a button to cancel it.

import { getJson, sendJson } from "./api.js";
import { byId, duration, element, sayError } from "./dom.js";

const STAGES = {
  starting: "starting",
  loading: "loading the model",
  segmenting: "finding nuclei",
  writing: "writing files",
  waiting: "waiting",
};
const ENDS = { done: "done", failed: "failed", cancelled: "cancelled" };
const SECONDS = 1; // between two looks at running jobs

const isActive = ({ state }) => state === "queued" || state === "running";

function wordsOf(job) {
  if (job.state === "queued") return job.ahead ? `waiting, ${job.ahead} before it` : "waiting";
  if (job.state !== "running") return ENDS[job.state];
  const stage = STAGES[job.stage] ?? job.stage ?? "starting";
  return job.seconds_left === null ? stage : `${stage}, about ${duration(job.seconds_left)} left`;
}

/** A job in the list. What changes is changed in place, so that the focus stays where it is. */
class Entry {
  constructor(job, { onCancel, onOpen }) {
    this.words = element("small");
    this.bar = element("progress", { max: 1, "aria-label": "Part done" });
    this.error = element("small", { className: "error" });
    this.cancel = element("button", { className: "plain", onclick: () => onCancel(job.id) }, "Cancel");
    this.open = element("button", { className: "plain", onclick: () => onOpen(this.job.result) }, "Open");
    const buttons = element("div", { className: "row" }, this.cancel, this.open);
    const name = element("strong", {}, job.name);
    this.root = element("li", { className: "job", "data-job": job.id }, name, this.words, this.bar, this.error, buttons);
  }

  show(job) {
    const ended = this.job && isActive(this.job) && !isActive(job);
    this.job = job;
    this.root.dataset.state = job.state;
    this.words.textContent = wordsOf(job);
    this.bar.hidden = job.state !== "running";
    this.bar.value = job.part ?? 0;
    this.error.textContent = job.state === "failed" ? job.message : "";
    this.cancel.hidden = !isActive(job);
    this.open.hidden = !job.result;
    return ended && job.state === "done";
  }
}

export class JobsList {
  /** onDone(job) hears of each job that ends well while the page is open; onOpen(result) opens one. */
  constructor({ onDone, onOpen }) {
    this.onDone = onDone;
    this.onOpen = onOpen;
    this.entries = new Map();
    this.timer = null;
  }

  /** Look at the jobs now, and go on while one is active. */
  async look() {
    clearTimeout(this.timer);
    const { jobs } = await getJson("api/jobs");
    byId("jobs-section").hidden = !jobs.length;
    for (const job of jobs) {
      if (this.#entryOf(job).show(job)) this.onDone(job);
    }
    clearTimeout(this.timer); // of another look, which has ended in between
    if (jobs.some(isActive)) this.timer = setTimeout(() => this.look().catch(sayError), SECONDS * 1000);
  }

  #entryOf(job) {
    if (!this.entries.has(job.id)) {
      const onCancel = (id) => this.#cancel(id).catch(sayError);
      const entry = new Entry(job, { onCancel, onOpen: this.onOpen });
      this.entries.set(job.id, entry);
      byId("jobs").prepend(entry.root); // the newest first
    }
    return this.entries.get(job.id);
  }

  async #cancel(id) {
    await sendJson("POST", `api/jobs/${id}/cancel`, {});
    await this.look();
  }
}

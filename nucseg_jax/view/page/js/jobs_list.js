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
const SECONDS = 1; // between two looks at running jobs

export class JobsList {
  /** onDone(job) hears of each job that ends well while the page is open; onOpen(result) opens one. */
  constructor({ onDone, onOpen }) {
    this.onDone = onDone;
    this.onOpen = onOpen;
    this.states = new Map();
    this.timer = null;
  }

  /** Look at the jobs now, and go on while one is active. */
  async look() {
    clearTimeout(this.timer);
    const { jobs } = await getJson("api/jobs");
    byId("jobs-section").hidden = !jobs.length;
    byId("jobs").replaceChildren(...jobs.toReversed().map((job) => this.#entry(job)));
    for (const job of jobs) {
      const before = this.states.get(job.id);
      this.states.set(job.id, job.state);
      if (before && before !== "done" && job.state === "done") this.onDone(job);
    }
    if (jobs.some(({ state }) => state === "queued" || state === "running")) {
      this.timer = setTimeout(() => this.look().catch(sayError), SECONDS * 1000);
    }
  }

  #entry(job) {
    const active = job.state === "queued" || job.state === "running";
    return element(
      "li",
      { className: "job", "data-job": job.id, "data-state": job.state },
      element("strong", {}, job.name),
      element("small", {}, this.#words(job)),
      job.state === "running" ? element("progress", { max: 1, value: job.part ?? 0, "aria-label": "Part done" }) : null,
      job.state === "failed" ? element("small", { className: "error" }, job.message) : null,
      element(
        "div",
        { className: "row" },
        active ? element("button", { className: "plain", onclick: () => this.#cancel(job.id).catch(sayError) }, "Cancel") : null,
        job.result ? element("button", { className: "plain", onclick: () => this.onOpen(job.result) }, "Open") : null,
      ),
    );
  }

  #words(job) {
    if (job.state === "queued") return job.ahead ? `waiting, ${job.ahead} before it` : "waiting";
    if (job.state !== "running") return { done: "done", failed: "failed", cancelled: "cancelled" }[job.state];
    const stage = STAGES[job.stage] ?? job.stage ?? "starting";
    return job.seconds_left === null ? stage : `${stage}, about ${duration(job.seconds_left)} left`;
  }

  async #cancel(id) {
    await sendJson("POST", `api/jobs/${id}/cancel`, {});
    await this.look();
  }
}

// One job in the list.

import { element, setText } from "./dom.js";
import { kill } from "./processes.js";

const SILENT = 2500; // ms without a word of its worker
const GIVEN_UP = 15_000; // ms without a word, when so many workers of a job have died:
const MOST_DELIVERIES = 5;

export class JobRow {
  constructor(complain) {
    this.complain = complain;
    this.title = element("span", "job-title");
    this.state = element("span", "job-state meta");
    this.bar = element("progress", "");
    this.who = element("span", "meta");
    this.button = element("button", "danger small", "Kill");
    this.button.type = "button";
    this.button.hidden = true;
    this.button.addEventListener("click", () => this.kill());
    this.item = element(
      "li",
      "job",
      element("div", "job-head", this.title, this.state),
      this.bar,
      element("div", "job-foot", this.who, this.button),
    );
  }

  get name() {
    return `Job ${this.job.number}, ${this.job.title},`;
  }

  // Whether its state is another one now. A step that comes late changes nothing.
  show(job) {
    const before = this.job;
    if (before && (before.state === "done" || (before.state === "running" && job.state === "waiting"))) return false;
    this.job = job;
    this.heard = Date.now();
    this.item.dataset.state = job.state;
    setText(this.title, `#${job.number} ${job.title}`);
    this.bar.max = job.steps;
    this.bar.value = job.step;
    this.bar.ariaLabel = this.name;
    const workers = job.workers.map((worker) => worker.replace(", pid ", " (") + ")");
    setText(this.who, workers.join(" → ") || "in the queue");
    this.showButton(job.workers.at(-1)?.split(",")[0]);
    this.showSilence();
    return before?.state !== job.state;
  }

  showButton(worker) {
    this.button.hidden = this.job.state !== "running";
    if (!worker) return;
    setText(this.button, `Kill ${worker}`);
    this.button.ariaLabel = `Kill ${worker}, which works on job ${this.job.number}`;
    this.worker = worker;
  }

  showSilence() {
    if (!this.job) return;
    const silent = this.job.state === "running" && Date.now() - this.heard > SILENT;
    this.item.classList.toggle("silent", silent);
    setText(this.state, { waiting: "waiting", running: this.progress(silent), done: "done" }[this.job.state]);
  }

  progress(silent) {
    const share = `${Math.round((100 * this.job.step) / this.job.steps)} %`;
    const silence = Date.now() - this.heard;
    if (!silent) return share;
    if (silence > GIVEN_UP && this.job.workers.length >= MOST_DELIVERIES) return `${share} · given up, a dead letter`;
    return `${share} · no word for ${Math.floor(silence / 1000)} s`;
  }

  async kill() {
    try {
      await kill(this.worker);
      this.complain("");
    } catch (error) {
      this.complain(error.message);
    }
  }
}

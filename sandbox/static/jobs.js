// The card "Background jobs", over /ws/jobs.

import { $, complain, element, setText } from "./dom.js";
import { JobRow } from "./job.js";
import { LiveSocket } from "./socket.js";

const MOST = 8;
const rows = new Map();
let socket = null;

export function startJobs() {
  showEmpty();
  socket = new LiveSocket("/ws/jobs", { onMessage, card: $("jobs-card") });
  $("start-one").addEventListener("click", () => start(1));
  $("start-several").addEventListener("click", () => start(4));
  setInterval(() => rows.forEach((row) => row.showSilence()), 500);
}

function onMessage(message) {
  if (message.type === "jobs") message.jobs.forEach(show);
  if (message.type === "job") show(message.job);
  if (message.type === "error") complain("jobs-error", message.text);
}

function start(count) {
  complain("jobs-error");
  if (!socket.send({ count })) complain("jobs-error", "Not started: there is no connection.");
}

function show(job) {
  let row = rows.get(job.id);
  if (!row) {
    row = new JobRow((text) => complain("jobs-error", text));
    rows.set(job.id, row);
    $("jobs").querySelector(".empty")?.remove();
    $("jobs").prepend(row.item);
    forgetOld();
  }
  if (row.show(job) && job.state === "done") setText($("jobs-said"), `${row.name} is done.`);
}

function forgetOld() {
  const done = [...rows].filter(([, row]) => row.job?.state === "done");
  for (const [id, row] of done.slice(0, Math.max(0, rows.size - MOST))) {
    row.item.remove();
    rows.delete(id);
  }
}

function showEmpty() {
  $("jobs").replaceChildren(element("li", "empty", "No job yet. Start some, and watch their bars."));
}

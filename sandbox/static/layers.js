// The card "Layers and processes": charts and a table of what every process reports.

import { get, post } from "./api.js";
import { Chart } from "./chart.js";
import { $, complain, element, setText } from "./dom.js";
import { kill } from "./processes.js";
import { Reports } from "./reports.js";
import { LiveSocket } from "./socket.js";
import { ProcessTable } from "./table.js";

const reports = new Reports();
const charts = [];
let table = null;

export async function startLayers() {
  charts.push(
    ["messages", new Chart($("chart-messages"), "Messages per second", "sent and received")],
    ["depth", new Chart($("chart-depth"), "Waiting messages", "waiting")],
    ["drops", new Chart($("chart-drops"), "Dropped per second", "dropped")],
    ["sockets", new Chart($("chart-sockets"), "WebSockets", "open")],
  );
  table = new ProcessTable($("processes"), killProcess);
  $("burst").addEventListener("click", burst);
  new LiveSocket("/ws/statistics", { onMessage, card: $("layers-card") });
  setInterval(tick, 1000);
  const { processes } = await get("/api/server");
  table.allowKilling(processes);
}

function onMessage(message) {
  if (message.type !== "report") return;
  if (!reports.processes.has(message.process)) addToLegend(message);
  const before = reports.take(message);
  if (before) setText($("deaths"), `${message.process}: process ${before.pid} is gone, ${message.pid} took its place.`);
  table.show(reports);
}

function tick() {
  if (reports.processes.size === 0) return;
  for (const [what, chart] of charts) chart.add(reports.values(what));
  table.show(reports);
}

function addToLegend({ process, role }) {
  const item = element("li", "", process, role === "clock" ? element("span", "meta", "and what waits on the queue") : undefined);
  item.dataset.series = process;
  const after = [...$("legend").children].find((each) => each.dataset.series > process);
  $("legend").insertBefore(item, after ?? null);
}

async function killProcess(name) {
  complain("layers-error");
  try {
    await kill(name);
  } catch (error) {
    complain("layers-error", error.message);
  }
}

async function burst() {
  complain("layers-error");
  try {
    await post("/api/burst", {});
  } catch (error) {
    complain("layers-error", error.message);
  }
}

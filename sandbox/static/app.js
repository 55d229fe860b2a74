// Where the page begins: each card has a file of its own, and the socket that it needs.

import { $, setText } from "./dom.js";
import { startJobs } from "./jobs.js";
import { startLayers } from "./layers.js";
import { startLines } from "./lines.js";
import { startNotices } from "./notices.js";
import { startRooms } from "./rooms.js";
import { served } from "./served.js";
import { startSystem } from "./system.js";

const STATES = {
  connecting: () => "Connecting…",
  open: () => "Connected",
  waiting: (seconds) => `Reconnecting in ${Math.ceil(seconds)} s`,
  refused: () => "Not connected",
  closed: () => "Not connected",
};

function showState(state, seconds) {
  $("status").dataset.state = state;
  setText($("status"), STATES[state](seconds));
  setText($("served"), state === "open" ? "Served by" : "Last served by");
}

served.watch(({ process, pid, port }) => {
  setText($("process"), process);
  setText($("pid"), pid);
  setText($("port"), port || location.port || "80");
});

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the room
  $("text").focus();
});

startSystem(showState);
startRooms();
startJobs();
startLines();
startNotices();
startLayers();

// Where the page begins: each card has a file of its own, and the sockets that it needs.

import { startChat } from "./chat.js";
import { startNotices } from "./notices.js";
import { showProcess, startServerCard } from "./server.js";

const status = document.getElementById("status");

const STATES = {
  connecting: () => "Connecting…",
  open: () => "Connected",
  waiting: (seconds) => `Reconnecting in ${Math.ceil(seconds)} s`,
  refused: () => "Not connected",
  closed: () => "Changing rooms…",
};

function showState(state, seconds) {
  status.dataset.state = state;
  status.textContent = STATES[state](seconds);
}

startServerCard();
startNotices();
startChat({ onState: showState, onServer: showProcess });

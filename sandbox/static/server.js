// The card of the server that serves this page: its process, its port, who else is here (over /ws/visitors), the others.

import { get } from "./api.js";
import { LiveSocket } from "./socket.js";

const $ = (id) => document.getElementById(id);

export function startServerCard() {
  $("port").textContent = location.port || "80";
  new LiveSocket("/ws/visitors", (message) => ($("visitors").textContent = message.count));
  showOthers();
}

export function showProcess(pid) {
  $("pid").textContent = pid;
}

async function showOthers() {
  const { servers } = await get("/api/server");
  const others = servers.filter((address) => address !== location.origin);
  $("others").hidden = others.length === 0;
  $("others").replaceChildren("Now open the other one: ", ...others.map(link));
}

function link(address) {
  const made = document.createElement("a");
  made.href = address;
  made.target = "_blank";
  made.textContent = new URL(address).host;
  return made;
}

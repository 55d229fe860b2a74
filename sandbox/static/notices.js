// The card "Notifications": what everybody is told, in whatever room, over /ws/notifications.

import { post } from "./api.js";
import { $, clock, complain, element, setText } from "./dom.js";
import { LiveSocket } from "./socket.js";

const SHOWN = 8_000; // ms
const MOST = 4;
let timer = null;

export function startNotices() {
  $("notices").append(element("li", "empty", "No news is good news."));
  new LiveSocket("/ws/notifications", { onMessage, card: $("notices-card") });
  $("everybody-form").addEventListener("submit", tell);
}

function onMessage(message) {
  if (message.type === "notification") show(message);
}

function show({ text, process }) {
  clearTimeout(timer);
  setText($("notice"), text);
  timer = setTimeout(() => setText($("notice"), ""), SHOWN);

  $("notices").querySelector(".empty")?.remove();
  $("notices").prepend(element("li", "", clock(new Date().toISOString()), ` ${text} `, element("span", "meta", `by ${process}`)));
  while ($("notices").childElementCount > MOST) $("notices").lastElementChild.remove();
}

async function tell(event) {
  event.preventDefault();
  complain("everybody-error");
  try {
    await post("/api/notifications", { text: $("everybody").value });
    $("everybody").value = "";
  } catch (error) {
    complain("everybody-error", error.message);
  }
}

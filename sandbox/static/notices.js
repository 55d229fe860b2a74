// What everybody is told, in whatever room, over /ws/notifications.

import { post } from "./api.js";
import { LiveSocket } from "./socket.js";

const SHOWN = 10_000; // ms
const $ = (id) => document.getElementById(id);
let timer = null;

export function startNotices() {
  new LiveSocket("/ws/notifications", (message) => message.type === "notification" && show(message.text));
  $("everybody-form").addEventListener("submit", tell);
}

function show(text) {
  clearTimeout(timer);
  $("notice").textContent = text;
  timer = setTimeout(() => ($("notice").textContent = ""), SHOWN);
}

async function tell(event) {
  event.preventDefault();
  $("everybody-error").textContent = "";
  try {
    await post("/api/notifications", { text: $("everybody").value });
    $("everybody").value = "";
  } catch (error) {
    $("everybody-error").textContent = error.message;
  }
}

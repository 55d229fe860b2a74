// The card "System", over /ws/system: no layer, only this page and its server. And who else is here, over /ws/visitors.

import { get } from "./api.js";
import { $, appendTo, complain, duration, element, setText } from "./dom.js";
import { served } from "./served.js";
import { LiveSocket } from "./socket.js";

const EVERY = 5000; // ms
const MOST = 4;
let socket = null;
let last = null; // the server that served this page before

// onState(state, seconds) is told how the connection is.
export function startSystem(onState) {
  say("Messages of the server come here.", "empty");
  socket = new LiveSocket("/ws/system", { onMessage, onState, card: $("system-card") });
  new LiveSocket("/ws/visitors", { onMessage: ({ type, count }) => type === "visitors" && setText($("visitors"), count) });
  setInterval(ping, EVERY);
  $("system-form").addEventListener("submit", ask);
  showOthers();
}

function onMessage(message) {
  if (message.type === "hello") welcome(message);
  if (message.type === "echo") say(`Process ${message.pid} heard: ${message.text}`);
  if (message.type === "error") complain("system-error", message.text);
  if (message.type === "pong") setText($("trip"), `${Math.max(0.1, performance.now() - message.at).toFixed(1)} ms`);
  if (message.up !== undefined) setText($("up"), duration(message.up));
}

function welcome(hello) {
  served.by(hello);
  const again = last && last !== hello.pid ? `, a new process after ${last}` : "";
  say(`${last ? "Connected again" : "Connected"} to ${hello.process}, pid ${hello.pid}${again}.`);
  last = hello.pid;
  ping();
}

function ping() {
  socket?.send({ type: "ping", at: performance.now() });
}

function ask(event) {
  event.preventDefault();
  complain("system-error");
  if (socket.send({ type: "say", text: $("say").value })) $("say").value = "";
  else complain("system-error", "Not sent: there is no connection.");
}

function say(text, className = "") {
  appendTo($("system-log"), element("li", className, text), MOST);
}

async function showOthers() {
  const { servers } = await get("/api/server");
  const others = servers.filter((address) => address !== location.origin);
  $("others").hidden = others.length === 0;
  $("others").replaceChildren("Now open the other server: ", ...others.map(link));
}

function link(address) {
  const made = element("a", "", new URL(address).host);
  made.href = address;
  made.target = "_blank";
  return made;
}

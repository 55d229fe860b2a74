// The card "Reliable chat", over /ws/lines. The page's part of the promise: it keeps a line, and sends it again, until it
// has seen it in the history; and it asks for every line that it has not, by number.

import { $, appendTo, clock, complain, element, setText } from "./dom.js";
import { myName } from "./me.js";
import { hue } from "./messages.js";
import { Outbox } from "./outbox.js";
import { kill } from "./processes.js";
import { served } from "./served.js";
import { LiveSocket } from "./socket.js";

const AGAIN = 4000; // ms after which a line that is not kept is sent again
const MOST = 200;
const outbox = new Outbox($("outbox"));
let last = null; // the number of the last line that is shown
let missed = 0; // lines that came after a reconnection
let connections = 0;
let asking = false;
let timer = null;
let socket = null;

export function startLines() {
  $("lines").append(element("li", "line empty", "Nothing is written yet."));
  socket = new LiveSocket("/ws/lines", { onMessage, onState, card: $("lines-card") });
  $("lines-form").addEventListener("submit", write);
  $("kill-server").addEventListener("click", killServer);
}

function onState(state) {
  asking = false;
  if (state === "waiting") say(`Your server is gone. What you write waits here; ${where()}`);
}

function onMessage(message) {
  if (message.type === "hello") resume();
  if (message.type === "lines") takeMissed(message);
  if (message.type === "kept") take(message.line);
  if (message.type === "later" || message.type === "error") complain("lines-error", message.text);
}

// Reading

function resume() {
  if (asking) return;
  asking = true;
  socket.send({ type: "resume", after: last });
}

function takeMissed({ lines, more }) {
  asking = false;
  if (last !== null && connections > 0) missed += lines.filter(({ seq }) => seq > last).length;
  lines.forEach(show);
  last ??= 0;
  if (more && lines.length && connections > 0) {
    resume();
    return;
  }
  say(connections > 0 ? `Connected again: ${missed} missed ${missed === 1 ? "line" : "lines"} fetched; ${where()}` : where());
  connections += 1;
  missed = 0;
  sendFirst();
}

function take(line) {
  if (last === null || line.seq > last + 1) resume(); // a hole: the history knows
  else show(line);
  if (last !== null) say(where());
}

function show(line) {
  const mine = outbox.remove(line.id);
  if (mine) {
    complain("lines-error");
    sendFirst();
  }
  if (last !== null && line.seq <= last) return; // it is there already
  last = line.seq;
  appendTo($("lines"), item(line, mine), MOST);
}

function item(line, mine) {
  const made = element(
    "li",
    mine ? "bubble mine" : "bubble",
    element("p", "who", element("span", "seq", `#${line.seq}`), line.name, clock(line.at)),
    element("p", "said", line.text),
    element("p", "meta", `written at ${line.server}, kept by ${line.keeper.replace(", pid ", " (")})`),
  );
  made.style.setProperty("--hue", hue(line.name));
  return made;
}

// Writing

function write(event) {
  event.preventDefault();
  outbox.add(myName(), $("line").value);
  $("line").value = "";
  if (outbox.lines.length === 1) sendFirst();
}

// One at a time, so that they are kept in their order.
function sendFirst() {
  clearTimeout(timer);
  if (!outbox.first) return;
  if (connections > 0) socket.send({ type: "line", ...outbox.first });
  timer = setTimeout(sendFirst, AGAIN);
}

async function killServer() {
  complain("lines-error");
  try {
    await kill(served.process);
  } catch (error) {
    complain("lines-error", error.message);
  }
}

function where() {
  return last ? `you have every line up to #${last}.` : "the history is empty.";
}

function say(text) {
  setText($("lines-state"), text.charAt(0).toUpperCase() + text.slice(1));
}

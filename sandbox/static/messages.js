// The list of messages in a room.

import { appendTo, clock, element } from "./dom.js";
import { served } from "./served.js";

const MOST = 200;

export class MessageList {
  constructor(list) {
    this.list = list;
    this.empty();
  }

  empty(why = "Nobody has said anything yet.") {
    this.list.replaceChildren(element("li", "line empty", why));
  }

  // A line of the page's own.
  note(text) {
    appendTo(this.list, element("li", "line", text), MOST);
  }

  add(message) {
    const item = message.via === "sender" ? clockLine(message) : bubble(message);
    const last = this.list.lastElementChild;
    if (message.via === "sender" && last?.dataset.via === "sender") last.replaceWith(item);
    else appendTo(this.list, item, MOST);
  }
}

// What the sender says comes every few seconds: one quiet line, and not read aloud.
function clockLine(message) {
  const item = element("li", "line clock", `${message.name}: ${message.text}`);
  item.append(element("span", "meta", `sent by process ${message.pid}, no server`));
  item.ariaLive = "off";
  item.dataset.via = message.via;
  return item;
}

function bubble(message) {
  const item = element("li", message.mine ? "bubble mine" : "bubble");
  item.style.setProperty("--hue", hue(message.name));
  item.dataset.via = message.via;
  const where = message.pid === served.pid ? "this server" : "the other server";
  const how = message.via === "http" ? "posted to" : "typed at";
  item.append(
    element("p", "who", message.name, clock(message.at)),
    element("p", "said", message.text),
    element("p", "meta", `${how} ${where} (${message.pid})`),
  );
  return item;
}

export function hue(name) {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return (sum * 137) % 360;
}

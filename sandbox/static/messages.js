// The list of messages. Everything that people wrote goes in as text, never as HTML.

const MOST = 200;

export class MessageList {
  constructor(list) {
    this.list = list;
    this.pid = null; // of the server that serves this page
    this.empty();
  }

  empty(why = "Nobody has said anything yet.") {
    this.list.replaceChildren(element("li", "line", why));
    this.fresh = true;
  }

  // A line of the page's own.
  note(text) {
    this.put(element("li", "line", text));
  }

  add(message) {
    this.put(message.via === "sender" ? clockLine(message) : bubble(message, this.pid));
  }

  put(item) {
    const last = this.list.lastElementChild;
    const reading = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight > 80;
    const ticks = item.dataset.via === "sender" && last.dataset.via === "sender";
    if (this.fresh || ticks) last.replaceWith(item);
    else this.list.append(item);
    this.fresh = false;
    while (this.list.childElementCount > MOST) this.list.firstElementChild.remove();
    if (!reading) this.list.scrollTop = this.list.scrollHeight;
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

function bubble(message, ownPid) {
  const item = element("li", message.mine ? "bubble mine" : "bubble");
  item.style.setProperty("--hue", hue(message.name));
  item.dataset.via = message.via;

  const head = element("p", "who", message.name);
  const time = element("time", "meta", new Date(message.at).toLocaleTimeString());
  time.dateTime = message.at;
  head.append(time);

  const where = message.pid === ownPid ? "this server" : "the other server";
  const how = message.via === "http" ? "posted to" : "typed at";
  item.append(head, element("p", "said", message.text), element("p", "meta", `${how} ${where} (${message.pid})`));
  return item;
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function hue(name) {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return (sum * 137) % 360;
}

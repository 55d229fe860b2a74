// Who is in the room: each process says whom it serves there; here the lists are put together.

import { element } from "./dom.js";
import { hue } from "./messages.js";

export class Members {
  // said(text) is told who comes and who goes.
  constructor(list, said) {
    this.list = list;
    this.said = said;
    this.timer = setInterval(() => this.show(), 1000);
    this.empty();
    this.list.replaceChildren(element("li", "empty", "nobody yet"));
  }

  // A new room.
  empty() {
    this.me = null; // the id of this page there
    this.rosters = new Map();
    this.frozen = false;
    this.shown = new Map(); // names by id
    this.missed = new Map(); // those who went a moment ago, by id
    this.key = null;
    this.since = Date.now();
  }

  // Without a connection nobody is heard of: that says nothing of them.
  freeze() {
    this.frozen = true;
  }

  // A connection, perhaps a new one: whoever was here before will be heard of again soon, or is gone.
  connect(me) {
    const before = [...this.shown].filter(([id]) => id !== this.me);
    for (const [id, { name }] of this.missed) before.push([id, name]);
    this.empty();
    this.me = me;
    for (const [id, name] of before) this.miss(id, name);
  }

  take(roster) {
    this.patience = roster.good_for * 1000;
    this.rosters.set(roster.process, { ...roster, until: Date.now() + this.patience });
    this.show();
  }

  show() {
    if (this.rosters.size === 0 || this.frozen) return;
    this.list.dataset.settled = this.isSettled;
    const members = [...this.rosters.values()]
      .filter((roster) => roster.until > Date.now()) // a process that is silent is dead
      .flatMap((roster) => roster.members.map((member) => ({ ...member, process: roster.process })))
      .sort((one, other) => one.name.localeCompare(other.name));
    this.tell(new Map(members.map((member) => [member.id, member.name])));
    const key = JSON.stringify(members);
    if (key === this.key) return;
    this.key = key;
    this.list.replaceChildren(...members.map((member) => this.chip(member)));
  }

  // Who goes may be back in a moment with another id, as after the death of their server: nobody left, nobody came.
  tell(now) {
    for (const [id, name] of this.shown) if (!now.has(id) && id !== this.me) this.miss(id, name);
    for (const [id, name] of now) if (!this.shown.has(id)) this.greet(id, name);
    this.shown = now;
    for (const [id, { name, until }] of this.missed) {
      if (until > Date.now()) continue;
      this.missed.delete(id);
      if (![...now.values()].includes(name)) this.said(`${name} left.`);
    }
  }

  miss(id, name) {
    this.missed.set(id, { name, until: Date.now() + this.patience });
  }

  // In the first moments, those who were here before are heard of one after another: nobody comes.
  greet(id, name) {
    const [back] = [...this.missed].find(([, one]) => one.name === name) ?? [];
    if (back !== undefined) this.missed.delete(back);
    else if (this.isSettled && id !== this.me) this.said(`${name} came in.`);
  }

  get isSettled() {
    return Date.now() - this.since > 2000;
  }

  chip(member) {
    const you = member.id === this.me ? element("span", "meta", "you") : undefined;
    const item = element("li", "chip", member.name, you, element("span", "meta", member.process));
    item.style.setProperty("--hue", hue(member.name));
    return item;
  }
}

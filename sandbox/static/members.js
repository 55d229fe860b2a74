// Who is in the room: each process says whom it serves there; here the lists are put together.

import { element } from "./dom.js";
import { hue } from "./messages.js";

export class Members {
  // said(text) is told who comes and who goes.
  constructor(list, said) {
    this.list = list;
    this.said = said;
    this.timer = setInterval(() => this.show(), 1000);
    this.empty(null);
    this.list.replaceChildren(element("li", "empty", "nobody yet"));
  }

  // A new room, or a new connection: `me` is the id of this page there.
  empty(me) {
    this.me = me;
    this.rosters = new Map();
    this.frozen = false;
    this.shown = null;
    this.since = Date.now();
  }

  // Without a connection nobody is heard of: that says nothing of them.
  freeze() {
    this.frozen = true;
  }

  take(roster) {
    this.rosters.set(roster.process, { ...roster, until: Date.now() + roster.good_for * 1000 });
    this.show();
  }

  show() {
    if (this.rosters.size === 0 || this.frozen) return;
    this.list.dataset.settled = this.isSettled;
    const members = [...this.rosters.values()]
      .filter((roster) => roster.until > Date.now()) // a process that is silent is dead
      .flatMap((roster) => roster.members.map((member) => ({ ...member, process: roster.process })))
      .sort((one, other) => one.name.localeCompare(other.name));
    const key = JSON.stringify(members);
    if (key === this.key && this.shown) return;
    this.key = key;
    this.tell(members);
    this.list.replaceChildren(...members.map((member) => this.chip(member)));
  }

  // In the first moments, those who were here before are heard of one after another: nobody comes.
  tell(members) {
    const now = new Map(members.map((member) => [member.id, member.name]));
    if (this.shown && this.isSettled) {
      for (const [id, name] of now) if (!this.shown.has(id) && id !== this.me) this.said(`${name} came in.`);
      for (const [id, name] of this.shown) if (!now.has(id) && id !== this.me) this.said(`${name} left.`);
    }
    this.shown = now;
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

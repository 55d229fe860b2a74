// Lines that this page has written and not yet seen in the history. They outlive a reload, and a server.

const KEY = "outbox";

export class Outbox {
  constructor(list) {
    this.list = list;
    this.lines = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
    this.show();
  }

  get first() {
    return this.lines[0];
  }

  add(name, text) {
    this.lines.push({ id: newId(), name, text });
    this.changed();
  }

  // The history has it. Whether it was one of ours.
  remove(id) {
    const before = this.lines.length;
    this.lines = this.lines.filter((line) => line.id !== id);
    if (this.lines.length === before) return false;
    this.changed();
    return true;
  }

  changed() {
    sessionStorage.setItem(KEY, JSON.stringify(this.lines));
    this.show();
  }

  show() {
    this.list.replaceChildren(
      ...this.lines.map(({ text }) => Object.assign(document.createElement("li"), { textContent: `${text} · not kept yet` })),
    );
  }
}

// crypto.randomUUID() is for https and localhost alone.
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

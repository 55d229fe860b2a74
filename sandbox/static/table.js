// The table of the processes: rows stay, so that whoever is on a button stays there.

import { readable } from "./chart.js";
import { duration, element, setText } from "./dom.js";

const COLUMNS = ["pid", "port", "runs for", "messages/s", "waiting", "dropped", "WebSockets"];

export class ProcessTable {
  constructor(body, kill) {
    this.body = body;
    this.kill = kill;
    this.rows = new Map();
    this.killable = [];
    this.body.append(element("tr", "empty", Object.assign(element("td", "", "No process has reported yet."), { colSpan: 9 })));
  }

  // Those that the supervisor would start again. Some report nothing: they have rows all the same.
  allowKilling(names) {
    this.killable = names;
    for (const name of names) this.row(name);
  }

  show(reports) {
    for (const [name, process] of reports.processes) {
      const row = this.row(name);
      const alive = reports.isAlive(name);
      row.item.classList.toggle("silent", !alive);
      const cells = [
        alive ? process.pid : `${process.pid} (silent)`,
        process.port || "–",
        duration(process.up),
        readable(process.messages),
        readable(process.depth),
        readable(process.totals.dropped),
        process.role === "server" ? process.sockets : "–",
      ];
      cells.forEach((value, index) => setText(row.cells[index], value));
    }
  }

  row(name) {
    const known = this.rows.get(name);
    if (known) return this.withButton(known);
    this.body.querySelector(".empty")?.remove();
    const head = element("th", "", name);
    head.scope = "row";
    head.dataset.series = name;
    const cells = COLUMNS.map(cell);
    const last = element("td", "buttons");
    const row = { name, item: element("tr", "", head, ...cells, last), cells, last };
    this.rows.set(name, row);
    const after = [...this.rows.keys()].sort().find((other) => other > name);
    this.body.insertBefore(row.item, this.rows.get(after)?.item ?? null);
    return this.withButton(row);
  }

  withButton(row) {
    if (row.last.childElementCount || !this.killable.includes(row.name)) return row;
    const button = element("button", "danger small", "Kill");
    button.type = "button";
    button.ariaLabel = `Kill ${row.name}`;
    button.addEventListener("click", () => this.kill(row.name));
    row.last.append(button);
    return row;
  }
}

function cell(label) {
  const made = element("td", "", "–");
  made.dataset.label = label;
  return made;
}

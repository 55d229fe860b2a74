// What the processes report, over /ws/statistics: counters become rates, and a process that is silent is noticed.

const DEAD_AFTER = 3000; // ms

export class Reports {
  constructor() {
    this.processes = new Map(); // name -> the latest report, with its rates
  }

  // Returns the process of that name before, if it was another one.
  take(report) {
    const before = this.processes.get(report.process);
    const same = before?.pid === report.pid;
    const totals = totalsOf(report);
    const seconds = same ? Math.max(0.2, report.up - before.up) : null;
    const rate = (name) => (same ? Math.max(0, totals[name] - before.totals[name]) / seconds : 0);
    this.processes.set(report.process, {
      ...report,
      totals,
      heard: Date.now(),
      messages: rate("messages"),
      drops: rate("dropped"),
      depth: totals.depth,
    });
    return before && !same ? before : null;
  }

  isAlive(name) {
    const process = this.processes.get(name);
    return Boolean(process) && Date.now() - process.heard < DEAD_AFTER;
  }

  // One value of each process: null where it is silent.
  values(what) {
    return new Map([...this.processes].map(([name, process]) => [name, this.isAlive(name) ? process[what] : null]));
  }
}

function totalsOf({ layers }) {
  const totals = { messages: 0, dropped: 0, depth: 0 };
  for (const layer of Object.values(layers)) {
    totals.messages += layer.sent + layer.received;
    totals.depth += layer.depth ?? 0;
    for (const count of Object.values(layer.dropped)) totals.dropped += count;
  }
  return totals;
}

// A chart that moves: one line for each process, 40 seconds, a step a second.

const SECONDS = 40;
const WIDTH = 300;
const HEIGHT = 90;
const STEP = WIDTH / (SECONDS - 1);
const SVG = "http://www.w3.org/2000/svg";
const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class Chart {
  // unit: what is counted, in words. together(values): the number that is shown large.
  constructor(figure, title, unit) {
    this.unit = unit;
    this.title = title;
    this.series = new Map(); // name -> { values, path }
    this.number = tag("b", "");
    this.top = tag("span", "chart-top");
    this.lines = svg("g");
    this.svg = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    this.svg.append(...[0.25, 0.5, 0.75].map(gridLine), this.lines);
    const plot = tag("div", "plot");
    plot.append(this.svg, this.top);
    const caption = document.createElement("figcaption");
    caption.append(title, this.number);
    figure.append(caption, plot);
  }

  // One second: a Map of the processes and their values; null is a hole.
  add(values) {
    for (const name of values.keys()) if (!this.series.has(name)) this.open(name);
    for (const [name, series] of this.series) {
      series.values.push(values.get(name) ?? null);
      if (series.values.length > SECONDS + 1) series.values.shift();
    }
    this.draw();
  }

  open(name) {
    const path = svg("path", { "data-series": name });
    this.lines.append(path);
    this.series.set(name, { values: Array(SECONDS).fill(null), path });
  }

  draw() {
    const all = [...this.series.values()];
    const most = Math.max(...all.flatMap(({ values }) => values), 0);
    const scale = roundUp(most);
    for (const { values, path } of all) path.setAttribute("d", outline(values, scale));
    const now = all.reduce((sum, { values }) => sum + (values.at(-1) ?? 0), 0);
    this.number.textContent = readable(now);
    this.top.textContent = readable(scale);
    this.svg.setAttribute("aria-label", `${this.title}: ${readable(now)} ${this.unit} now, at most ${readable(most)} in one process`);
    if (calm.matches) return;
    const moves = [{ transform: `translateX(${STEP}px)` }, { transform: "none" }];
    this.lines.animate(moves, { duration: 1000, easing: "linear" });
  }
}

// The line through `values`, the latest at the right edge, with gaps where there is none.
function outline(values, scale) {
  let pen = "M";
  let path = "";
  values.forEach((value, index) => {
    if (value === null) {
      pen = "M";
      return;
    }
    const x = WIDTH - (values.length - 1 - index) * STEP;
    path += `${pen}${x.toFixed(1)} ${(HEIGHT - 3 - (value / scale) * (HEIGHT - 8)).toFixed(1)}`;
    pen = "L";
  });
  return path;
}

function roundUp(value) {
  if (value <= 4) return 4;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].find((step) => step * power >= value) * power;
}

export function readable(value) {
  if (value === null || value === undefined) return "–";
  return value >= 10_000 ? `${(value / 1000).toFixed(value < 100_000 ? 1 : 0)} k` : String(Math.round(value));
}

function gridLine(share) {
  const y = HEIGHT * share;
  return svg("line", { x1: 0, x2: WIDTH, y1: y, y2: y, class: "grid" });
}

function svg(name, attributes = {}) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function tag(name, className) {
  const made = document.createElement(name);
  made.className = className;
  return made;
}

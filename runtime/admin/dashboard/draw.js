// Elements, charts and numbers. Text goes in as text: what guests print is never markup.

export function h(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

export function svg(tag, given = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(given)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function colour(index) { return `var(--c${index % 8})`; }

export function number(value, digits = 1) {
  if (value == null || Number.isNaN(value)) return "–";
  if (value >= 10000) return Math.round(value).toLocaleString("en");
  return value >= 100 ? value.toFixed(0) : value.toFixed(digits);
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return [value >= 100 || unit === 0 ? value.toFixed(0) : value.toFixed(1), units[unit]];
}

export function millis(seconds) {
  if (seconds == null || Number.isNaN(seconds)) return "–";
  const ms = seconds * 1000;
  return ms >= 1000 ? `${(ms / 1000).toFixed(1)} s` : ms >= 10 ? `${ms.toFixed(0)} ms` : `${ms.toFixed(2)} ms`;
}

export function ago(time) {
  const seconds = Math.max(0, (Date.now() - new Date(time)) / 1000);
  if (seconds < 5) return "just now";
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 129600 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} days ago`;
}

export function clock(time) {
  return new Date(time).toLocaleTimeString("en-GB");
}

// A small line without axes.
export function spark(values) {
  const most = Math.max(...values, 1);
  const step = 300 / Math.max(values.length - 1, 1);
  const points = values.map((value, at) => `${(at * step).toFixed(1)},${(42 - (value / most) * 38).toFixed(1)}`);
  const line = points.length ? `M${points.join("L")}` : "";
  return svg("svg", { class: "spark", viewBox: "0 0 300 44", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path", { class: "fill", d: line ? `${line}L${((values.length - 1) * step).toFixed(1)},44L0,44Z` : "" }),
    svg("path", { d: line }));
}

// Lines over time: `lines` of {name, colour, values}, one value for each of `times` (seconds), and `marks`.
export function chart(times, lines, marks = []) {
  // What is drawn small on a phone keeps its letters readable.
  const width = innerWidth < 700 ? 340 : 640, height = 200, left = 46, right = 8, top = 8, bottom = 22;
  const values = lines.flatMap((line) => line.values).filter((value) => value != null);
  const most = nice(Math.max(...values, 0));
  const to = times[times.length - 1] ?? 0, from = Math.min(times[0] ?? 0, to - 30);
  const x = (time) => left + ((time - from) / (to - from)) * (width - left - right);
  const y = (value) => height - bottom - (value / most) * (height - top - bottom);
  const picture = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img" });
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    const at = y(most * part);
    picture.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: at, y2: at }));
    if (part % 0.5 === 0) {
      picture.append(svg("text", { x: left - 6, y: at + 4, "text-anchor": "end" }, short(most * part)));
    }
  }
  for (const [time, anchor] of [[from, "start"], [to, "end"]]) {
    const label = time === to ? "now" : `−${Math.round(to - from)} s`;
    picture.append(svg("text", { x: x(time), y: height - 6, "text-anchor": anchor }, label));
  }
  for (const mark of marks.filter((mark) => mark.time >= from && mark.time <= to)) {
    const line = svg("line", { class: "mark", x1: x(mark.time), x2: x(mark.time), y1: top, y2: height - bottom });
    line.append(svg("title", {}, mark.name));
    picture.append(line);
  }
  for (const line of lines) {
    let path = "", pen = "M";
    line.values.forEach((value, at) => {
      if (value == null) { pen = "M"; return; }
      path += `${pen}${x(times[at]).toFixed(1)},${y(value).toFixed(1)}`;
      pen = "L";
    });
    const drawn = svg("path", { class: "plot", d: path });
    drawn.style.stroke = line.colour;
    picture.append(drawn);
  }
  return picture;
}

export function legend(lines) {
  return lines.map((line) => {
    const mark = h("i");
    mark.style.background = line.colour;
    return h("span", {}, mark, line.name);
  });
}

export const counted = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

function nice(most) {
  if (!(most > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= most * 1.05) ?? most * 1.2;
}

function short(value) {
  if (value >= 1000) return `${+(value / 1000).toFixed(1)}k`;
  return `${+value.toFixed(value < 1 ? 2 : 1)}`;
}

// Copying the command, hiding what a legend names, and one view of the time for all plots.
"use strict";
for (const button of document.querySelectorAll("[data-copy]")) {
  button.onclick = async () => {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(button.previousElementSibling);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  };
}

const SVG = "http://www.w3.org/2000/svg";
const plots = [...document.querySelectorAll("svg.plot[data-end]")];
const end = plots.length ? Number(plots[0].dataset.end) : 1;
const left = plots.length ? Number(plots[0].dataset.left) : 0;
const width = plots.length ? Number(plots[0].dataset.width) : 1;
let view = [0, end];

const make = (parent, name, attributes, text) => {
  const element = parent.appendChild(document.createElementNS(SVG, name));
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
};
const x = (time) => left + ((time - view[0]) / (view[1] - view[0])) * width;
const say = (time, step) => {
  const digits = step >= 1e6 ? 0 : Math.min(6, Math.ceil(-Math.log10(step / 1e6)));
  const seconds = time / 1e6;
  if (seconds < 120) return seconds.toFixed(digits) + " s";
  const two = (n) => String(Math.floor(n)).padStart(2, "0");
  const rest = two(seconds % 60) + (digits ? (seconds % 1).toFixed(digits).slice(1) : "");
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${rest}`;
};
const stepOf = (span) => {
  const least = span / 10, power = 10 ** Math.floor(Math.log10(least));
  const long = [15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400].map((s) => s * 1e6);
  if (least > 1e7) return long.find((step) => step >= least) ?? 14400e6;
  return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= least);
};

function look(from, to) {
  view = [Math.max(0, from), Math.min(end, to)];
  const step = stepOf(view[1] - view[0]);
  for (const plot of plots) {
    for (const field of plot.querySelectorAll("svg.field")) {
      const height = field.getAttribute("viewBox").split(" ")[3];
      field.setAttribute("viewBox", `${(view[0] / end) * width} 0 ${((view[1] - view[0]) / end) * width} ${height}`);
    }
    for (const word of plot.querySelectorAll("[data-t]")) {
      const [from, to] = [x(Number(word.dataset.t)), x(Number(word.dataset.e))];
      word.setAttribute("x", Math.max(from, left) + 3);
      word.style.display = to < left || from > left + width - 10 ? "none" : "";
    }
    const times = plot.querySelector(".time");
    times.replaceChildren();
    for (let at = Math.ceil(view[0] / step) * step; at <= view[1]; at += step) {
      make(times, "path", { d: `M${x(at)} ${times.dataset.top}V${times.dataset.bottom}` });
      make(times, "text", { x: x(at), y: Number(times.dataset.bottom) + 15 }, say(at, step));
    }
  }
}

const timeAt = (plot, event) => {
  const box = plot.getBoundingClientRect();
  const at = ((event.clientX - box.left) / box.width) * plot.viewBox.baseVal.width;
  return view[0] + ((Math.min(Math.max(at, left), left + width) - left) / width) * (view[1] - view[0]);
};
const away = (name) => document.querySelectorAll(".plot ." + name).forEach((element) => element.remove());

function point(time, from) {
  for (const name of ["hand", "when", "chosen"]) away(name);
  for (const plot of plots) {
    const { top, bottom } = plot.querySelector(".time").dataset;
    make(plot, "path", { class: "hand", d: `M${x(time)} ${top}V${bottom}` });
    make(plot, "text", { class: "when", x: x(time), y: Number(bottom) + 15 }, say(time, (view[1] - view[0]) / 300));
    if (from === undefined) continue;
    const [low, high] = [Math.min(time, from), Math.max(time, from)];
    make(plot, "rect", { class: "chosen", x: x(low), y: top, width: x(high) - x(low), height: bottom - top });
  }
}

for (const plot of plots) {
  let from;
  plot.onpointerdown = (event) => {
    if (event.button || event.target.closest(".legend")) return;
    from = timeAt(plot, event);
    plot.setPointerCapture(event.pointerId);
    event.preventDefault();
  };
  plot.onpointermove = (event) => point(timeAt(plot, event), from);
  plot.onpointerup = (event) => {
    const to = timeAt(plot, event);
    // A click is no choice of a time.
    if (from !== undefined && Math.abs(to - from) > (view[1] - view[0]) / 200) look(Math.min(from, to), Math.max(from, to));
    from = undefined;
    point(to);
  };
  plot.onpointerleave = () => { for (const name of ["hand", "when"]) away(name); };
  plot.ondblclick = () => look(0, end);
  for (const legend of plot.querySelectorAll(".legend")) {
    legend.onclick = () => {
      legend.classList.toggle("off");
      plot.querySelectorAll(".field ." + legend.dataset.of).forEach((mark) => mark.classList.toggle("off"));
    };
  }
}

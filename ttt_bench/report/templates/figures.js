// Figures that are inlined as SVG: the values of the nearest point, and a legend that hides lines.
// The attributes that it reads are described in report/figures/inline.py.
{
  const REACH = 40; // pixels from the pointer to a point whose values are shown
  const SAME = 0.5; // distance of points that are at the same place, in points of the figure
  const MOST_TEXTS = 4;
  const SVG = "http://www.w3.org/2000/svg";

  const tip = document.createElement("div");
  tip.setAttribute("role", "status");
  tip.style.cssText =
    "position: fixed; z-index: 9; pointer-events: none; max-width: 24rem; white-space: pre-line; padding: .15rem .5rem;" +
    "font-size: .88rem; color: var(--ink); background: var(--paper);" +
    "border: 1px solid var(--soft); border-radius: 3px;";
  tip.hidden = true;
  document.body.append(tip);

  /** Return the points of a line or of marks, in the coordinates of the figure. */
  function pointsOf(group) {
    const line = group.querySelector(":scope > path");
    if (line) {
      const pairs = line.getAttribute("d").matchAll(/[ML]\s*(\S+)\s+(\S+)/g);
      return [...pairs].map(([, x, y]) => [Number(x), Number(y)]);
    }
    const marks = [...group.querySelectorAll("use")];
    return marks.map((mark) => [mark.x.baseVal.value, mark.y.baseVal.value]);
  }

  function linesOf(svg) {
    const lines = [...svg.querySelectorAll("[data-tips]")].map((group) => ({
      series: group.dataset.series,
      texts: JSON.parse(group.dataset.tips),
      points: pointsOf(group),
    }));
    // in the order of the legend, so that frozen controls follow the lines of methods
    const place = ({ series }) => (Number.isNaN(Number(series)) ? Infinity : Number(series));
    return lines.sort((a, b) => (place(a) === place(b) ? 0 : place(a) - place(b)));
  }

  class Figure {
    constructor(svg) {
      this.svg = svg;
      this.lines = linesOf(svg);
      this.hidden = new Set();
      this.at = [0, -1]; // the line and the point that the keyboard has reached
      this.ring = document.createElementNS(SVG, "circle");
      this.ring.setAttribute("r", "3.5");
      this.ring.setAttribute("style", "fill: none; stroke: currentColor; pointer-events: none");
    }

    start() {
      const { svg } = this;
      svg.setAttribute("role", "group"); // it has switches now, so it is no single image
      svg.append(this.ring);
      this.hide();
      svg.addEventListener("pointermove", (event) => this.point(event));
      svg.addEventListener("pointerdown", (event) => this.point(event));
      svg.addEventListener("pointerleave", () => this.hide());
      if (this.lines.length) {
        svg.setAttribute("tabindex", "0");
        svg.addEventListener("keydown", (event) => this.key(event));
        svg.addEventListener("blur", () => this.hide());
      }
      for (const entry of svg.querySelectorAll("[data-role=entry]")) this.makeSwitch(entry);
    }

    get visible() {
      return this.lines.filter((line) => !this.hidden.has(line.series));
    }

    hide() {
      tip.hidden = true;
      this.ring.style.visibility = "hidden";
    }

    /** Show the values of a point. */
    show(line, place) {
      const [x, y] = line.points[place];
      const shown = new DOMPoint(x, y).matrixTransform(this.svg.getScreenCTM());
      this.ring.setAttribute("cx", x);
      this.ring.setAttribute("cy", y);
      this.ring.style.visibility = "visible";
      tip.textContent = [line.texts[place], ...this.others(line, x, y)].join("\n");
      tip.hidden = false;
      const { offsetWidth: width, offsetHeight: height } = tip;
      const left = Math.min(shown.x + 12, document.documentElement.clientWidth - width - 4);
      const above = shown.y - height - 12;
      tip.style.left = `${Math.max(4, left)}px`;
      tip.style.top = `${above > 4 ? above : shown.y + 16}px`;
    }

    /** Return the texts of other lines that have a point at the same place. */
    others(line, x, y) {
      const at = (one) => one.points.findIndex(([a, b]) => Math.hypot(a - x, b - y) < SAME);
      const found = this.visible.filter((one) => one !== line && at(one) >= 0);
      return found.map((one) => one.texts[at(one)]).slice(0, MOST_TEXTS - 1);
    }

    /** Show the values of the point that is nearest to the pointer. */
    point(event) {
      const inverse = this.svg.getScreenCTM().inverse();
      const here = new DOMPoint(event.clientX, event.clientY).matrixTransform(inverse);
      let nearest = { distance: REACH * inverse.a };
      for (const line of this.visible) {
        line.points.forEach(([x, y], place) => {
          const distance = Math.hypot(x - here.x, y - here.y);
          if (distance < nearest.distance - SAME) nearest = { distance, line, place };
        });
      }
      if (nearest.line) this.show(nearest.line, nearest.place);
      else this.hide();
    }

    /** Go through points with the keys to the left and right, through lines with up and down. */
    key(event) {
      const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
      const lines = this.visible;
      if (event.key === "Escape") this.hide();
      if (event.target !== this.svg || !(event.key in moves) || !lines.length) return;
      event.preventDefault();
      const [byLine, byPoint] = moves[event.key];
      const line = (Math.max(0, this.at[0] + byLine) + lines.length) % lines.length;
      const last = lines[line].points.length - 1;
      const place = Math.min(Math.max(this.at[1] + byPoint, 0), last);
      this.at = [line, place];
      this.show(lines[line], place);
    }

    makeSwitch(entry) {
      const { series } = entry.dataset;
      const sample = this.svg.querySelector(`[data-role=handle][data-series="${series}"]`);
      entry.setAttribute("role", "button");
      entry.setAttribute("tabindex", "0");
      entry.setAttribute("aria-pressed", "true");
      entry.setAttribute("aria-label", `show ${entry.textContent.trim()}`);
      for (const part of [entry, sample].filter(Boolean)) {
        part.style.cursor = "pointer";
        part.addEventListener("click", () => this.toggle(series, entry));
      }
      entry.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        this.toggle(series, entry);
      });
    }

    /** Hide or show the lines of a series. */
    toggle(series, entry) {
      const shown = this.hidden.delete(series);
      if (!shown) this.hidden.add(series);
      entry.setAttribute("aria-pressed", String(shown));
      entry.style.textDecoration = shown ? "" : "line-through";
      for (const part of this.svg.querySelectorAll(`[data-series="${series}"]`)) {
        const inLegend = ["entry", "handle"].includes(part.dataset.role);
        if (!inLegend) part.style.visibility = shown ? "" : "hidden";
      }
      this.hide();
    }
  }

  for (const svg of document.querySelectorAll("svg.figure")) new Figure(svg).start();
}

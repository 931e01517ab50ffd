// Projections of tokens as coloured strips, as heat maps over the picture, and as tables.

import { element, signed } from "./dom.js";

const TEXT_OPACITY = 0.5;
const PICTURE_OPACITY = 0.7;
const HIGH = "213, 94, 0";
const LOW = "0, 114, 178";

// A limit that all but the largest twentieth of the values stay within, rounded up.
export function limit(projections) {
  const sizes = projections.flatMap(({ values }) => values.map(Math.abs)).sort((a, b) => a - b);
  const size = Math.max(0.5, sizes[Math.floor(0.95 * (sizes.length - 1))]);
  const power = 10 ** Math.floor(Math.log10(size));
  return Number((Math.ceil(size / power * 2) / 2 * power).toPrecision(2));
}

// The tokens of prompt and response. A run of picture tokens is one piece.
export function strip(found, scale) {
  const parts = [["Prompt", 0, found.prompt_tokens], ["Response", found.prompt_tokens, found.values.length]];
  return parts.filter(([, start, end]) => end > start).map(([name, start, end]) => {
    const values = found.values.slice(start, end);
    const label =
      `${name}: projections from ${signed(Math.min(...values))} to ${signed(Math.max(...values))}, ` +
      `last token ${signed(values[values.length - 1])}`;
    const tokens = element("span", { class: "strip", role: "img", "aria-label": label });
    for (let k = start; k < end; k++) {
      const picture = found.pictures.find(([first]) => first === k);
      if (picture) {
        tokens.append(pictureToken(found, picture, scale));
        k = picture[1] - 1;
      } else {
        tokens.append(token(visible(found.tokens[k]), found.values[k], scale));
      }
    }
    return element("div", { class: "strip-line" }, element("span", { class: "strip-name" }, name), tokens);
  });
}

function token(text, value, scale) {
  const made = element("span", { class: "token", title: signed(value) }, text);
  made.style.backgroundColor = colour(value, scale, TEXT_OPACITY);
  return made;
}

function pictureToken(found, [first, end], scale) {
  const values = found.values.slice(first, end);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return token(`[picture, ${end - first} tokens]`, mean, scale);
}

function visible(text) {
  return text.replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "∅";
}

// The picture tokens over the picture; null where their places are unknown.
export function heatMap(found, scale, pictures) {
  if (!found.grid || pictures.length !== 1 || found.pictures.length !== 1) return null;
  const [rows, columns] = found.grid;
  const [[first, end]] = found.pictures;
  const values = found.values.slice(first, end);
  const cells = element("div", { class: "cells" });
  cells.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
  cells.style.gridTemplateRows = `repeat(${rows}, 1fr)`;
  for (const value of values) {
    const cell = element("span", { title: signed(value) });
    cell.style.backgroundColor = colour(value, scale, PICTURE_OPACITY);
    cells.append(cell);
  }
  const highest = values.indexOf(Math.max(...values));
  const label =
    `Projections of the ${rows} × ${columns} picture tokens, from ${signed(Math.min(...values))} to ` +
    `${signed(values[highest])}, highest in row ${Math.floor(highest / columns) + 1}, column ${(highest % columns) + 1}`;
  return element("div", { class: "heat", role: "img", "aria-label": label }, element("img", { src: pictures[0], alt: "" }), cells);
}

export function table(found) {
  const head = element("tr", {}, element("th", { scope: "col" }, "Token"), element("th", { scope: "col" }, "Projection"));
  const rows = found.values.map((value, k) => element("tr", {}, element("td", {}, visible(found.tokens[k])), element("td", {}, signed(value))));
  const attributes = { class: "scroll", tabindex: "0", role: "region", "aria-label": "Values of each token" };
  return element("div", attributes, element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
}

function colour(value, scale, opacity) {
  const share = Math.min(1, Math.abs(value) / scale);
  return `rgba(${value < 0 ? LOW : HIGH}, ${(share * opacity).toFixed(3)})`;
}

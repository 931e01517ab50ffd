// The answers: a card for each strength, with its label and the projections of its tokens.

import { $, element } from "./dom.js";
import { heatMap, limit, strip, table } from "./projections.js";
import { words } from "./query.js";

export class Cards {
  begin(strengths, nameOf, pictures) {
    this.pictures = pictures;
    this.cards = strengths.map((strength) => card(strength, strength ? `Strength ${nameOf(strength)}` : "Uncalibrated"));
    this.texts = strengths.map(() => "");
    this.projections = strengths.map(() => null);
    $("cards").replaceChildren(...this.cards.map((each) => each.root));
    $("cards").dataset.count = strengths.length > 2 ? "several" : "two";
    $("cards").setAttribute("aria-busy", "true");
    $("legend").hidden = true;
  }

  apply(event) {
    for (const choice of event.choices) {
      const { text, root } = this.cards[choice.index];
      const added = choice.delta.content ?? "";
      if (added) {
        this.texts[choice.index] += added;
        text.textContent = this.texts[choice.index];
      }
      if (choice.finish_reason) {
        root.dataset.state = "answered";
        if (choice.finish_reason === "length") text.append(element("span", { class: "quiet" }, " [cut at the length limit]"));
        if (!this.texts[choice.index]) text.append(element("span", { class: "quiet" }, "[empty]"));
        this.projections[choice.index] = choice.projections ?? null;
      }
    }
  }

  label({ judge, labels }) {
    labels.forEach((label, k) => this.cards[k].badges.append(badge(label, judge)));
  }

  finish() {
    $("cards").setAttribute("aria-busy", "false");
  }

  // All strips have one scale, so that they can be compared.
  project(contrast) {
    const known = this.projections.filter(Boolean);
    if (known.length === 0) return;
    const scale = limit(known);
    this.projections.forEach((found, k) => {
      if (!found) return;
      const { reading } = this.cards[k];
      const map = heatMap(found, scale, this.pictures);
      const values = element("details", {}, element("summary", {}, "Values"));
      values.addEventListener("toggle", () => values.children.length < 2 && values.append(table(found)));
      const title = `Projection at layer ${found.layer}`;
      const shown = [...(map ? [map] : []), ...strip(found, scale), values];
      const several = this.cards.length > 2; // folded, so that the answers stay side by side
      reading.replaceChildren(...(several
        ? [element("details", {}, element("summary", {}, title), ...shown)]
        : [element("h4", {}, title), ...shown]));
    });
    $("scale-low").textContent = `−${scale}`;
    $("scale-high").textContent = `+${scale}`;
    $("legend-text").textContent =
      `Projection of each token on the direction, after all edits, in the unit of strength (contrast ${contrast}). ` +
      "At the positions that the direction was read at, its examples of the two sides lie at −0.5 and +0.5 " +
      "on average; other positions have no such scale. Values beyond the scale have its last colour.";
    $("legend").hidden = false;
  }

  stop(state) {
    for (const { root } of this.cards ?? []) if (root.dataset.state === "waiting") root.dataset.state = state;
    $("cards").setAttribute("aria-busy", "false");
  }
}

// The responses that the run recorded for an example.
export function recordedCards(recorded) {
  const shown = [["Uncalibrated", recorded?.before], ["Calibrated", recorded?.after]].filter(([, one]) => one);
  $("recorded").hidden = shown.length === 0;
  $("recorded-cards").replaceChildren(...shown.map(([name, one]) => {
    const { root, text, badges } = card(0, name);
    root.dataset.state = "recorded";
    text.textContent = one.text;
    badges.append(badge(one.label, null));
    return root;
  }));
}

function card(strength, name) {
  const text = element("p", { class: "text" });
  const badges = element("p", { class: "badges" });
  const reading = element("div", { class: "reading" });
  const attributes = { class: "card", "data-strength": strength, "data-state": "waiting" };
  const root = element("article", attributes, element("h3", {}, name), text, badges, reading);
  return { root, text, badges, reading };
}

function badge(label, judge) {
  const by = judge ? element("span", { class: "quiet" }, ` by judge=${judge}`) : "";
  return element("span", { class: "badge", "data-label": label ?? "none" }, element("b", {}, words(label)), by);
}

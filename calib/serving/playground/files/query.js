// The query: its text, system prompt and pictures, and the list of examples.

import { $, element } from "./dom.js";
import { ask } from "./server.js";

export class Query {
  constructor(changed, asked) {
    this.changed = changed;
    this.pictures = [];
    this.covered = false;
    this.example = null; // number of the example, while nothing of it has been changed
    this.model = null; // the model in whose list it has this number
    this.recorded = null;
    for (const id of ["query", "system"]) $(id).addEventListener("input", () => this.edited());
    $("query").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      asked();
    });
    $("file").addEventListener("change", () => this.read($("file").files[0]));
    $("remove").addEventListener("click", () => this.replace([]));
    $("uncover").addEventListener("click", () => this.cover(!this.covered));
    this.acceptDrops();
  }

  list(found) {
    const groups = new Map();
    found.examples.forEach((one, number) => {
      const name = one.changed ? "Changed by the method" : one.part.replaceAll("_", " ");
      if (!groups.has(name)) groups.set(name, element("optgroup", { label: name }));
      groups.get(name).append(element("option", { value: number }, title(one)));
    });
    $("example").replaceChildren(element("option", { value: "" }, "Your own query"), ...groups.values());
    const more = found.total > found.examples.length;
    const notes = [...found.notes];
    if (more) notes.unshift(`${found.examples.length} of ${found.total} examples are listed.`);
    $("notes").replaceChildren(...notes.map((note) => element("li", {}, note)));
    $("notes").hidden = notes.length === 0;
  }

  async choose(model, number, signal) {
    if (number === null) {
      this.edited();
      return;
    }
    const found = await ask(`playground/example/${number}/${encodeURIComponent(model)}`, undefined, signal);
    this.example = number;
    this.model = model;
    this.recorded = found;
    $("query").value = found.query;
    $("system").value = found.system ?? "";
    $("system-details").open = Boolean(found.system);
    this.show(found.pictures, found.covered);
  }

  edited() {
    this.example = null;
    this.recorded = null;
    $("example").value = "";
    this.changed();
  }

  replace(pictures) {
    this.show(pictures, false);
    this.edited();
  }

  async read(file) {
    if (!file) return;
    const reader = new FileReader();
    reader.addEventListener("load", () => this.replace([reader.result]));
    reader.readAsDataURL(file);
    $("file").value = "";
  }

  show(pictures, covered) {
    this.pictures = pictures;
    const images = pictures.map((url, k) => element("img", { src: url, alt: `Picture ${k + 1} of the query` }));
    $("pictures").replaceChildren(...images);
    $("remove").hidden = pictures.length === 0;
    $("uncover").hidden = !covered;
    this.cover(covered);
  }

  cover(covered) {
    this.covered = covered;
    document.body.classList.toggle("covered", covered);
    $("uncover").setAttribute("aria-pressed", String(!covered));
  }

  acceptDrops() {
    const drop = $("drop");
    for (const kind of ["dragover", "dragleave", "drop"]) {
      drop.addEventListener(kind, (event) => {
        event.preventDefault();
        drop.classList.toggle("over", kind === "dragover");
        if (kind === "drop") this.read(event.dataTransfer.files[0]);
      });
    }
  }

  // The messages of a request; null if there is nothing to ask.
  messages() {
    const query = $("query").value;
    const system = $("system").value;
    if (!query.trim() && this.pictures.length === 0) return null;
    const images = this.pictures.map((url) => ({ type: "image_url", image_url: { url } }));
    const user = { role: "user", content: [...images, { type: "text", text: query }] };
    return system ? [{ role: "system", content: system }, user] : [user];
  }
}

function title(one) {
  const about = [one.object, one.safety].filter(Boolean).join(", ");
  const change = one.changed ? `${words(one.before)} → ${words(one.after)}: ` : "";
  const query = one.query.length > 70 ? `${one.query.slice(0, 69)}…` : one.query;
  return `${change}${query}${about ? ` (${about})` : ""}`;
}

export function words(label) {
  return label === null || label === undefined ? "no label" : label.replaceAll("_", " ");
}

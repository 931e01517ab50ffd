// The controls of layer and strength. `state` is the setting; sliders show it.

import { $, signed } from "./dom.js";

const MOST_STRENGTHS = 16;

export class Setting {
  constructor(changed) {
    this.changed = changed;
    $("layer").addEventListener("input", () => this.set(this.controls.layers[$("layer").value], this.strength));
    $("strength").addEventListener("input", () => {
      const value = Number($("strength").value);
      const { stops } = this.controls;
      this.set(this.layer, stops.length ? stops[value].strength : value);
    });
    $("strength-number").addEventListener("input", () => {
      const value = $("strength-number").valueAsNumber;
      if (Number.isFinite(value)) this.set(this.layer, value, false);
    });
    for (const id of ["several", "projections"]) $(id).addEventListener("change", () => this.update());
    $("row").addEventListener("input", () => this.update());
  }

  // Begin with a method's own layer and strength.
  use(controls) {
    this.controls = controls;
    this.layer = controls.layer ?? null;
    this.strength = controls.strength ?? 0;
    $("setting").hidden = !controls.method;
    if (!controls.method) return;
    const { layers, stops, slider, row } = controls;
    $("layer-line").hidden = layers.length < 2;
    $("layer").max = layers.length - 1;
    const range = $("strength");
    if (stops.length) {
      Object.assign(range, { min: 0, max: stops.length - 1, step: 1 });
    } else {
      Object.assign(range, { min: slider.least, max: slider.most, step: slider.step });
    }
    $("strength-number").hidden = stops.length > 0;
    $("row").value = row.map((each) => String(each)).join(" ");
    $("projections-line").hidden = this.controls.projected_layers.length === 0;
    this.show();
  }

  set(layer, strength, number = true) {
    this.layer = layer;
    this.strength = strength;
    this.show(number);
    this.changed();
  }

  update() {
    this.show();
    this.changed();
  }

  show(number = true) {
    const { layers, stops } = this.controls;
    $("layer").value = Math.max(0, layers.indexOf(this.layer));
    $("layer").setAttribute("aria-valuetext", `layer ${this.layer}`);
    $("layer-value").textContent = this.layer;
    const stop = stops.findIndex((each) => each.strength === this.strength);
    $("strength").value = stops.length ? stop : this.strength;
    if (number) $("strength-number").value = this.strength;
    $("strength-value").textContent = `${this.name(this.strength)}, ${this.controls.meaning}`;
    $("strength").setAttribute("aria-valuetext", this.name(this.strength));
    $("row-line").hidden = !$("several").checked;
  }

  name(strength) {
    const stop = this.controls.stops.find((each) => each.strength === strength);
    if (stop && stop.name !== String(strength)) return `${strength} (${stop.name})`;
    return this.controls.stops.length ? String(strength) : signed(strength);
  }

  // The strengths to answer at, the uncalibrated model first or in its place; null if invalid.
  strengths() {
    $("row-error").textContent = "";
    $("row").removeAttribute("aria-invalid");
    if (!this.controls.method) return [0];
    if (!$("several").checked) return this.strength ? [0, this.strength] : [0];
    const words = $("row").value.trim().replaceAll("−", "-").split(/[\s,;]+/).filter(Boolean);
    const wrong = words.find((word) => !Number.isFinite(Number(word)));
    const all = [...new Set([0, ...words.map(Number)])].sort((a, b) => a - b);
    if (wrong !== undefined || all.length > MOST_STRENGTHS) {
      $("row").setAttribute("aria-invalid", "true");
      $("row-error").textContent = wrong === undefined
        ? `At most ${MOST_STRENGTHS - 1} strengths besides 0.`
        : `“${wrong}” is not a number. Write strengths such as −2 0.5 4.`;
      return null;
    }
    return all;
  }

  // The field `calib` of a request.
  calib(strengths) {
    if (!this.controls.method) return undefined;
    const projected = $("projections").checked && this.controls.projected_layers.includes(this.layer);
    return { strengths, layer: this.layer ?? undefined, projections: projected || undefined };
  }
}

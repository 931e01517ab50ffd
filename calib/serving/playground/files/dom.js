// Elements. Every text is set as text: queries and answers are never read as HTML.

export const $ = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    made.setAttribute(attribute, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

// A strength as people write it: +2, −0.5, 0.
export function signed(strength) {
  const text = String(Math.abs(Number(strength.toPrecision(4))));
  return strength === 0 ? "0" : (strength < 0 ? "−" : "+") + text;
}

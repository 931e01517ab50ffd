// The page: asks whenever the query or the setting changes, and shows the latest answers only.

import { Cards, recordedCards } from "./cards.js";
import { $, element } from "./dom.js";
import { Query } from "./query.js";
import { ServerError, ask, setKey, stream } from "./server.js";
import { Setting } from "./setting.js";

const PAUSE = 120; // milliseconds without a change of the setting before it is asked

let settings, setting, query;
let served; // what the server says of the selected method
let asking = null; // the AbortController of the request in progress
let choosing = null;
let timer = 0;
const cards = new Cards();

async function open() {
  try {
    settings = await ask("playground/settings");
  } catch (error) {
    if (error instanceof ServerError && error.status === 401) askForKey();
    else $("model").textContent = error.message;
    return;
  }
  $("key-form").hidden = true;
  $("key").value = "";
  $("main").hidden = false;
  if (setting) return; // the key was asked for again
  setting = new Setting(() => later(PAUSE));
  query = new Query(outdated, answer);
  const methods = settings.served.map((one, number) => element("option", { value: number }, one.method ?? ""));
  $("method").replaceChildren(...methods);
  $("method").addEventListener("change", () => use(Number($("method").value)));
  $("example").addEventListener("change", () => choose($("example").value === "" ? null : Number($("example").value)));
  $("controls").addEventListener("submit", (event) => {
    event.preventDefault();
    answer();
  });
  $("stop").addEventListener("click", () => abort("Stopped.", "stopped"));
  await use(0);
}

// Select a method. Its list begins with the examples that it changed; the query stays if it is in
// none of the lists.
async function use(number) {
  abort("Loading the examples …", "stopped");
  clear();
  choosing?.abort();
  const own = choosing = new AbortController();
  const first = !served;
  const kept = served && query.example === null;
  served = settings.served[number];
  const name = served.method ? `, served as ${served.model}` : ", without a method";
  $("model").textContent = `${served.checkpoint}${name}`;
  $("verdict").textContent = served.verdict;
  $("verdict").hidden = !served.verdict;
  setting.use(served);
  showCommands();
  try {
    const found = await ask(`playground/examples/${encodeURIComponent(served.model)}`, undefined, own.signal);
    query.list(found);
    if (kept || (first && found.examples.length === 0)) {
      answer();
      return;
    }
    $("example").value = "0";
    await choose(0);
  } catch (error) {
    if (!own.signal.aborted) fail(error);
  }
}

async function choose(number) {
  abort("", "stopped");
  clear();
  choosing?.abort();
  const own = choosing = new AbortController();
  try {
    await query.choose(served.model, number, own.signal);
  } catch (error) {
    if (!own.signal.aborted) fail(error);
    return;
  }
  recordedCards(query.recorded);
  if (number !== null) answer();
}

// The query has changed: its answers are no longer those of what the page shows.
function outdated() {
  choosing?.abort();
  abort("The query has changed. Press Answer, or Enter in its text.", "stopped");
  clear();
}

function clear() {
  $("cards").replaceChildren();
  $("legend").hidden = true;
  recordedCards(null);
}

function later(pause) {
  abort("", "stopped");
  showCommands();
  clearTimeout(timer);
  timer = setTimeout(answer, pause);
}

function abort(status, state) {
  clearTimeout(timer);
  asking?.abort();
  asking = null;
  cards.stop(state);
  $("stop").disabled = true;
  $("status").textContent = status;
}

async function answer() {
  abort("", "stopped");
  const strengths = setting.strengths();
  const messages = query.messages();
  showCommands();
  if (!strengths) return;
  if (!messages) {
    $("status").textContent = "Write a query, or choose a picture or an example.";
    return;
  }
  const own = asking = new AbortController();
  const current = () => asking === own;
  const { pictures } = query;
  // Each method has its own order: until its list is here, a number would name another example.
  const example = query.model === served.model ? query.example : null;
  cards.begin(strengths, (strength) => setting.name(strength), pictures);
  $("stop").disabled = false;
  $("status").textContent = "The model is answering …";
  const model = served.method ? served.model : served.uncalibrated;
  const body = { model, messages, stream: true, calib: setting.calib(strengths) };
  try {
    for await (const event of stream("v1/chat/completions", body, own.signal)) {
      if (!current()) return;
      cards.apply(event);
    }
    cards.project(served.contrast);
    let unlabelled = "";
    try {
      const labels = await ask("playground/labels", { model, example, responses: cards.texts }, own.signal);
      if (!current()) return;
      cards.label(labels);
    } catch (error) {
      if (!current()) return;
      unlabelled = ` Not labelled: ${error.message}`;
    }
    cards.finish();
    $("status").textContent = (strengths.length > 1 ? `${strengths.length} answers.` : "Answered.") + unlabelled;
    $("stop").disabled = true;
    asking = null;
  } catch (error) {
    if (current()) fail(error);
  }
}

function fail(error) {
  abort(error.message, "failed");
  if (error.status === 401) askForKey();
}

function askForKey() {
  $("key-form").hidden = false;
  $("main").hidden = true;
  $("model").textContent = "";
  $("key").focus();
}

$("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("key-error").textContent = "";
  setKey($("key").value);
  await open();
  if (!$("key-form").hidden) $("key-error").textContent = "This is not the server's key.";
});

function showCommands() {
  const { layer, strength } = setting;
  const calib = { strength, ...(layer === null ? {} : { layer }) };
  const found = [];
  if (settings.command) {
    const pick = settings.run && served.method ? ` pick=${served.method}` : "";
    const point = served.method ? ` strength=${strength}${layer === null ? "" : ` layer=${layer}`}` : "";
    found.push(["Serve it", settings.command + pick + point]);
  }
  if (served.method) found.push(["In a request", `extra_body={"calib": ${JSON.stringify(calib)}}`]);
  $("commands").replaceChildren(...found.map(([name, text]) => {
    const code = element("code", {}, text);
    const button = element("button", { type: "button", "aria-label": `Copy: ${name}` }, "Copy");
    button.addEventListener("click", () => copy(code));
    return element("div", { class: "command" }, element("span", { class: "quiet" }, name), code, button);
  }));
}

async function copy(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    $("copied").textContent = "Copied.";
  } catch {
    getSelection().selectAllChildren(code); // without https, pages may not write to the clipboard
    $("copied").textContent = "Selected: press Ctrl-C to copy it.";
  }
}

open();

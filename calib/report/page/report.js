"use strict";
(() => {
  const PER_PAGE = 20;
  const SAFETY = ["unsafe", "safe", "question"];
  const CHANGES = { label: "label changed", right: "changed to right", wrong: "changed to wrong" };
  const LONG = 700;
  const ENDED = {
    length: "cut at the longest length allowed",
    cut: "cut once its label was certain",
    blocked: "blocked by the provider's filter",
  };
  const byId = (id) => document.getElementById(id);

  // Everything from a model or a data set goes through here: as text, never as markup.
  function element(name, properties, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(properties || {})) {
      if (key === "className") made.className = value;
      else if (key === "hidden" || key === "disabled") made[key] = value;
      else made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  // Tables that can be sorted.

  function makeSortable(table) {
    table.querySelectorAll("thead th").forEach((cell, column) => {
      const button = element("button", { type: "button" }, ...cell.childNodes);
      cell.replaceChildren(button);
      button.addEventListener("click", () => sort(table, cell, column));
    });
  }

  function sort(table, cell, column) {
    const numbers = cell.classList.contains("number");
    const before = cell.getAttribute("aria-sort");
    const falling = before ? before === "ascending" : numbers;
    for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
    cell.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const way = falling ? -1 : 1;
    const key = (row) => {
      const found = row.cells[column];
      if (!numbers) return found.textContent;
      return found.dataset.value === undefined ? null : Number(found.dataset.value);
    };
    const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return way * (numbers ? a - b : a.localeCompare(b, "en", { numeric: true }));
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }

  document.querySelectorAll("table.sortable").forEach(makeSortable);

  // The examples.

  async function unpacked(text) {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let k = 0; k < raw.length; k++) bytes[k] = raw.charCodeAt(k);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  function trouble(text) {
    byId("trouble").textContent = text;
    byId("trouble").hidden = false;
  }

  function browse(data) {
    const pictures = byId("example-pictures").textContent.split("\n");
    const text = (number) => (number < 0 ? "" : data.texts[number]);
    const examples = data.examples.map((row, number) => {
      const [run, id, dataset, variant, category, safety, query, system, answer, picture, base, cells] = row;
      const part = text(dataset);
      return {
        number, run, id: text(id), dataset: part, part: `${part} / ${text(variant)}`, variant: text(variant),
        category: text(category), safety: SAFETY[safety], query: text(query), system: text(system),
        hasSystem: system >= 0, answer: text(answer), hasAnswer: answer >= 0, picture, base, cells,
        found: null,
      };
    });
    const controls = {};
    for (const id of ["run", "method", "part", "category", "safety", "label", "change", "search", "stop"]) {
      controls[id] = byId(id);
    }
    const first = () => ({
      run: 0, method: 0, stop: 0, part: "", category: "", safety: "", label: "", change: "", search: "", page: 1,
    });
    let state = first();
    let open = new Set(); // numbers of the unsafe pictures that were clicked
    let shut = new Set(); // of those that were clicked again while all are shown
    let showAll = false; // never kept in the address: a shared view must not uncover anything
    let cards = new Map();

    const methods = () => data.runs[state.run].methods;
    const method = () => methods()[state.method];
    const cellOf = (example) => (method() ? example.cells[state.method][state.stop] : example.base);

    // What is chosen from.

    function options(select, entries, chosen) {
      const made = entries.map(([value, name]) => {
        const option = element("option", { value }, name);
        option.selected = value === chosen;
        return option;
      });
      select.replaceChildren(...made);
    }

    function fillChoices() {
      const own = examples.filter((one) => one.run === state.run);
      const distinct = (values) => [...new Set(values)].sort();
      const parts = distinct(own.flatMap((one) => [one.dataset, one.part]));
      const categories = distinct(own.map((one) => one.category));
      const kinds = SAFETY.filter((kind) => own.some((one) => one.safety === kind));
      const used = new Set();
      for (const one of own) {
        for (const cell of [one.base, ...one.cells.flat()]) if (cell) used.add(cell[1]);
      }
      const labels = data.verdicts.filter((_, k) => used.has(k));
      if (!parts.includes(state.part)) state.part = "";
      if (!categories.includes(state.category)) state.category = "";
      if (!kinds.includes(state.safety)) state.safety = "";
      if (!labels.includes(state.label)) state.label = "";
      const all = (values, what) => [["", what], ...values.map((value) => [value, value])];
      options(controls.run, data.runs.map((run, k) => [String(k), run.name]), String(state.run));
      options(controls.method, methods().map((one, k) => [String(k), one.name]), String(state.method));
      options(controls.part, all(parts, "all parts"), state.part);
      options(controls.category, all(categories, "all categories"), state.category);
      const words = { unsafe: "unsafe", safe: "safe", question: "utility and knowledge" };
      options(controls.safety, [["", "all queries"], ...kinds.map((kind) => [kind, words[kind]])], state.safety);
      options(controls.label, [["", "any label"], ...labels.map((one) => [one, one.replace("_", " ")])], state.label);
      options(controls.change, [["", "changed or not"], ...Object.entries(CHANGES)], state.change);
      controls.search.value = state.search;
      for (const part of document.querySelectorAll(".of-runs")) part.hidden = data.runs.length < 2;
      for (const part of document.querySelectorAll(".of-methods")) part.hidden = !method();
      for (const select of [controls.label, controls.change]) {
        select.parentNode.hidden = select === controls.change && !method();
      }
      if (method()) {
        controls.stop.max = String(method().stops.length - 1);
        controls.stop.value = String(state.stop);
        nameStop();
      }
    }

    function stopName() {
      const one = method();
      const about = state.stop === one.base ? "uncalibrated" : state.stop === one.chosen ? "chosen" : "";
      return one.stops[state.stop] + (about ? ` (${about})` : "");
    }

    function nameStop() {
      byId("stop-shown").textContent = stopName();
      controls.stop.setAttribute("aria-valuetext", `strength ${stopName()}`);
      controls.stop.title = `${method().name}: strength ${method().means}`;
    }

    // Which examples are shown.

    function changedTo(example, cell) {
      if (!cell || !example.base) return "";
      if (cell[2] === example.base[2]) return "";
      return cell[2] === 1 ? "right" : cell[2] === 0 ? "wrong" : "";
    }

    function matches(example, words) {
      if (example.run !== state.run) return false;
      if (state.part && state.part !== example.part && state.part !== example.dataset) return false;
      if (state.category && state.category !== example.category) return false;
      if (state.safety && state.safety !== example.safety) return false;
      const cell = cellOf(example);
      if (state.label && (!cell || data.verdicts[cell[1]] !== state.label)) return false;
      if (state.change === "label" && (!cell || !example.base || cell[1] === example.base[1])) return false;
      if ((state.change === "right" || state.change === "wrong") && changedTo(example, cell) !== state.change) {
        return false;
      }
      if (!words.length) return true;
      example.found ??= [example.id, example.query, example.system, example.answer,
        example.base ? text(example.base[0]) : ""].join("\n").toLowerCase();
      const now = cell ? text(cell[0]).toLowerCase() : "";
      return words.every((word) => example.found.includes(word) || now.includes(word));
    }

    // Cards.

    function given(title) {
      const heading = element("p", { className: "who" }, title);
      const said = element("p", { className: "said", dir: "auto" });
      const more = element("button", { type: "button", className: "more", hidden: true });
      const badges = element("p", { className: "badges" });
      const sent = element("details", { className: "sent", hidden: true }, element("summary", {}, "Prompt as sent"));
      const prompt = element("p", { className: "said", dir: "auto" });
      sent.append(prompt);
      const root = element("div", { className: "given" }, heading, said, more, badges, sent);
      more.addEventListener("click", () => fold(!said.classList.contains("long")));
      function fold(folded) {
        said.classList.toggle("long", folded);
        more.textContent = folded ? "Show the whole answer" : "Show less";
      }
      function show(example, cell, name, previous) {
        heading.textContent = name;
        const words = cell ? text(cell[0]) : "";
        said.textContent = cell ? words || "(empty answer)" : "(not asked at this setting)";
        said.classList.toggle("quiet", !words);
        more.hidden = words.length <= LONG;
        fold(words.length > LONG);
        const right = cell ? cell[2] : -1;
        root.className = `given${right === 1 ? " right" : right === 0 ? " wrong" : ""}`;
        badges.replaceChildren();
        if (cell) {
          const verdict = data.verdicts[cell[1]];
          const mark = right === 1 ? "✓ right" : right === 0 ? "✗ wrong" : "";
          const isLabel = verdict !== "right" && verdict !== "wrong";
          const label = [isLabel ? verdict.replace("_", " ") : "", mark].filter(Boolean).join(" · ");
          badges.append(element("span", { className: `badge ${right === 1 ? "right" : right === 0 ? "wrong" : ""}` }, label));
          const end = cell[3] < 0 ? "" : ENDED[data.finishes[cell[3]]];
          if (end) badges.append(element("span", { className: "badge" }, end));
          if (previous) {
            const way = changedTo(example, cell);
            if (way) badges.append(element("span", { className: "badge" }, `changed to ${way}`));
            else if (cell[1] !== previous[1]) badges.append(element("span", { className: "badge" }, "label changed"));
          }
        }
        sent.hidden = !cell || cell[4] < 0;
        prompt.textContent = cell ? text(cell[4]) : "";
      }
      return { root, show };
    }

    function pictureOf(example) {
      const shot = element("div", { className: "shot" });
      if (example.picture < 0) {
        const why = example.picture === -1 ? "Asked without a picture" : "Its picture is not in this report";
        shot.append(element("div", { className: "none" }, why));
        return { shot, cover() {} };
      }
      const picture = element("img", { alt: `Picture of this example (${example.category})` });
      picture.addEventListener("load", () => picture.classList.toggle("drawn", picture.naturalWidth < 100));
      picture.src = `data:${data.mime};base64,${pictures[example.picture]}`;
      if (example.safety !== "unsafe") {
        shot.append(picture);
        return { shot, cover() {} };
      }
      const note = element("span", {});
      const button = element("button", { type: "button", className: "cover" }, picture, note);
      const shown = () => (showAll ? !shut.has(example.number) : open.has(example.number));
      function cover() {
        button.setAttribute("aria-pressed", String(shown()));
        button.setAttribute("aria-label", `Show the picture of unsafe example ${example.id}`);
        note.textContent = shown() ? "Blur again" : "Unsafe query: click to show";
      }
      button.addEventListener("click", () => {
        const set = showAll ? shut : open;
        if (!set.delete(example.number)) set.add(example.number);
        cover();
      });
      cover();
      shot.append(button);
      return { shot, cover };
    }

    function card(example) {
      const { shot, cover } = pictureOf(example);
      const kind = { unsafe: "Unsafe query", safe: "Safe query", question: "Question" }[example.safety];
      const where = [example.part, example.category].filter(Boolean).join(" · ");
      const base = given("Uncalibrated");
      const now = given("");
      const query = element("p", { className: "query said", dir: "auto" }, example.query);
      const told = element("div", { className: "told" },
        element("p", { className: "where said" }, element("b", {}, kind), ` · ${where}`),
        query,
        example.hasSystem ? element("p", { className: "system" }, element("b", {}, "System prompt: "),
          element("span", { className: "said", dir: "auto" }, example.system)) : null,
        example.hasAnswer ? element("p", { className: "expected" }, element("b", {}, "Expected: "),
          element("span", { className: "said", dir: "auto" }, example.answer)) : null,
        element("div", { className: "answers" }, base.root, now.root));
      const root = element("article", { className: "card", "aria-label": `Example ${example.id}` }, shot, told);
      base.show(example, example.base, "Uncalibrated", null);
      function update() {
        now.root.hidden = !method();
        if (method()) now.show(example, cellOf(example), `${method().name}, strength ${stopName()}`, example.base);
      }
      return { root, update, cover };
    }

    // Everything that depends on the state.

    function render() {
      const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
      const found = examples.filter((example) => matches(example, words));
      const total = examples.filter((example) => example.run === state.run).length;
      const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
      state.page = Math.min(Math.max(1, state.page), pages);
      const page = found.slice((state.page - 1) * PER_PAGE, state.page * PER_PAGE);
      const kept = new Map();
      for (const example of page) {
        const made = cards.get(example.number) || card(example);
        made.update();
        kept.set(example.number, made);
      }
      cards = kept;
      const count = (number) => number.toLocaleString("en");
      byId("count").textContent = `${count(found.length)} of ${count(total)} examples`;
      const nothing = element("p", { className: "nothing" },
        "No example is like that. Change a filter, or clear all of them.");
      const shown = [...cards.values()].map((one) => one.root);
      const list = byId("cards");
      if (!found.length) list.replaceChildren(nothing);
      else if (shown.length !== list.children.length || shown.some((one, k) => one !== list.children[k])) {
        list.replaceChildren(...shown);
      }
      byId("pages").hidden = pages < 2;
      byId("page").textContent = `Page ${state.page} of ${pages}`;
      byId("previous").disabled = state.page <= 1;
      byId("next").disabled = state.page >= pages;
      byId("reset").hidden = !["part", "category", "safety", "label", "change", "search"].some((key) => state[key]);
    }

    // The view in the address.

    function remember() {
      const kept = new URLSearchParams();
      if (data.runs.length > 1) kept.set("run", data.runs[state.run].name);
      if (method()) {
        kept.set("method", method().name);
        kept.set("strength", method().stops[state.stop]);
      }
      for (const key of ["part", "category", "safety", "label", "change", "search"]) {
        if (state[key]) kept.set(key, state[key]);
      }
      if (state.page > 1) kept.set("page", String(state.page));
      history.replaceState(null, "", `#${kept}`);
    }

    function recall() {
      const kept = new URLSearchParams(location.hash.slice(1));
      if (![...kept.values()].some(Boolean)) return false;
      state = first();
      const at = (list, name) => Math.max(0, list.findIndex((one) => one === name));
      state.run = at(data.runs.map((run) => run.name), kept.get("run"));
      state.method = at(methods().map((one) => one.name), kept.get("method"));
      if (method()) {
        const stop = method().stops.indexOf(kept.get("strength"));
        state.stop = stop < 0 ? method().first : stop;
      }
      for (const key of ["part", "category", "safety", "label", "search"]) state[key] = kept.get(key) || "";
      if (Object.hasOwn(CHANGES, kept.get("change") || "")) state.change = kept.get("change");
      state.page = Math.max(1, Number.parseInt(kept.get("page"), 10) || 1);
      return true;
    }

    function begin() {
      const shared = recall();
      if (!shared && method()) state.stop = method().first;
      fillChoices();
      render();
      return shared;
    }

    function changed(change) {
      Object.assign(state, { page: 1 }, change);
      render();
      remember();
    }

    controls.run.addEventListener("change", () => {
      state.run = Number(controls.run.value);
      state.method = 0;
      state.stop = method() ? method().first : 0;
      fillChoices();
      changed({});
    });
    controls.method.addEventListener("change", () => {
      state.method = Number(controls.method.value);
      state.stop = method().first;
      fillChoices();
      changed({});
    });
    for (const key of ["part", "category", "safety", "label", "change"]) {
      controls[key].addEventListener("change", () => changed({ [key]: controls[key].value }));
    }
    let waiting = 0;
    controls.search.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => changed({ search: controls.search.value }), 120);
    });
    controls.stop.addEventListener("input", () => {
      state.stop = Number(controls.stop.value);
      nameStop();
      // Which examples are shown may depend on the strength; the page stays where it can.
      changed({ page: state.page });
    });
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("reset").addEventListener("click", () => {
      state = { ...first(), run: state.run, method: state.method, stop: state.stop };
      fillChoices();
      changed({});
      controls.part.focus();
    });
    byId("show-all").addEventListener("click", () => {
      showAll = !showAll;
      open = new Set();
      shut = new Set();
      byId("show-all").setAttribute("aria-pressed", String(showAll));
      for (const one of cards.values()) one.cover();
    });
    function turn(by) {
      changed({ page: state.page + by });
      byId("examples-title").focus({ preventScroll: true });
      byId("count").scrollIntoView({ block: "center" });
    }
    byId("previous").addEventListener("click", () => turn(-1));
    byId("next").addEventListener("click", () => turn(1));
    addEventListener("hashchange", () => {
      if (location.hash.includes("=")) begin();
    });

    byId("browser").hidden = false;
    if (begin()) byId("examples-title").scrollIntoView();
    performance.mark("calib-examples-shown");
  }

  if (typeof DecompressionStream === "undefined") {
    trouble("This browser cannot unpack the examples (it has no DecompressionStream). " +
      "Chrome 80, Firefox 113, Safari 16.4 and later can.");
  } else {
    unpacked(byId("example-data").textContent).then(browse).catch((error) => {
      trouble(`The examples could not be shown: ${error.message}. The file may be damaged; write it again.`);
    });
  }
})();

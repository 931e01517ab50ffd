"use strict";
(() => {
  const PER_PAGE = 20;
  const SAFETY = ["unsafe", "safe", "question"];
  const CHANGES = { label: "label changed", right: "changed to right", wrong: "changed to wrong" };
  const FOLDED_ABOVE = 700; // characters
  const MAX_PRINTED_ROWS = 200;
  const FINISH = {
    length: "cut at the maximum length",
    cut: "stopped once its label was certain",
    blocked: "blocked by the provider",
  };
  const byId = (id) => document.getElementById(id);

  // Text of models and data sets reaches the page only as text nodes and attributes made here.
  function element(name, properties, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(properties || {})) {
      if (key === "className") node.className = value;
      else if (key === "hidden" || key === "disabled") node[key] = value;
      else node.setAttribute(key, value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  // Sortable tables.

  function makeSortable(table) {
    table.querySelectorAll("thead th").forEach((cell, column) => {
      const button = element("button", { type: "button" }, ...cell.childNodes);
      cell.replaceChildren(button);
      button.addEventListener("click", () => sort(table, cell, column));
    });
  }

  function sort(table, cell, column) {
    const numbers = cell.classList.contains("number");
    const order = cell.getAttribute("aria-sort");
    const falling = order ? order === "ascending" : numbers;
    for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
    cell.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const direction = falling ? -1 : 1;
    const key = (row) => {
      const value = row.cells[column];
      if (!numbers) return value.textContent;
      return value.dataset.value === undefined ? null : Number(value.dataset.value);
    };
    const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return direction * (numbers ? a - b : a.localeCompare(b, "en", { numeric: true }));
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }

  document.querySelectorAll("table.sortable").forEach(makeSortable);

  // Tables and figures that are wider than the screen say so, and can be scrolled with the keyboard.

  function hintAt(region) {
    const hint = element("p", { className: "hint", hidden: true }, "Wider than the screen: scroll sideways →");
    region.before(hint);
    const update = () => {
      const isCut = region.scrollWidth > region.clientWidth + 1;
      hint.hidden = !isCut;
      if (isCut) region.setAttribute("tabindex", "0");
    };
    new ResizeObserver(update).observe(region);
    update();
  }

  document.querySelectorAll(".scroll, .plate").forEach(hintAt);

  // Print: everything is unfolded but raw files and very long tables; or the heading and the recommendation alone.

  let unfolded = [];
  addEventListener("beforeprint", () => {
    const folded = [...document.querySelectorAll("main details:not([open], .raw, .prompt)")];
    for (const each of folded) each.classList.toggle("long", each.querySelectorAll("tr").length > MAX_PRINTED_ROWS);
    unfolded = folded.filter((each) => !each.classList.contains("long"));
    for (const each of unfolded) each.open = true;
  });
  addEventListener("afterprint", () => {
    for (const each of unfolded) each.open = false;
    document.documentElement.classList.remove("one-page");
  });
  const printOne = byId("print-one");
  if (printOne) {
    printOne.hidden = false;
    printOne.addEventListener("click", () => {
      document.documentElement.classList.add("one-page");
      print();
    });
  }

  // The examples.

  async function unpack(text) {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let k = 0; k < raw.length; k++) bytes[k] = raw.charCodeAt(k);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  function showError(text) {
    byId("error").textContent = text;
    byId("error").hidden = false;
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
        searchable: null,
      };
    });
    const controls = {};
    for (const id of ["run", "method", "part", "category", "safety", "label", "change", "search", "stop"]) {
      controls[id] = byId(id);
    }
    const initialState = () => ({
      run: 0, method: data.runs[0].best, stop: 0, part: "", category: "", safety: "", label: "", change: "", search: "", page: 1,
    });
    let state = initialState();
    let uncovered = new Set(); // numbers of the examples whose unsafe picture was clicked
    let covered = new Set(); // those clicked again while all pictures are shown
    let showAll = false; // not stored in the address: a shared link must not uncover pictures
    let cards = new Map();

    const methods = () => data.runs[state.run].methods;
    const method = () => methods()[state.method];
    const cellOf = (example) => (method() ? example.cells[state.method][state.stop] : example.base);

    // Filters.

    function setOptions(select, entries, chosen) {
      const options = entries.map(([value, name]) => {
        const option = element("option", { value }, name);
        option.selected = value === chosen;
        return option;
      });
      select.replaceChildren(...options);
    }

    function fillFilters() {
      const own = examples.filter((example) => example.run === state.run);
      const distinct = (values) => [...new Set(values)].sort();
      const parts = distinct(own.flatMap((example) => [example.dataset, example.part]));
      const categories = distinct(own.map((example) => example.category));
      const kinds = SAFETY.filter((kind) => own.some((example) => example.safety === kind));
      const used = new Set();
      for (const example of own) {
        for (const cell of [example.base, ...example.cells.flat()]) if (cell) used.add(cell[1]);
      }
      const labels = data.verdicts.filter((_, k) => used.has(k));
      if (!parts.includes(state.part)) state.part = "";
      if (!categories.includes(state.category)) state.category = "";
      if (!kinds.includes(state.safety)) state.safety = "";
      if (!labels.includes(state.label)) state.label = "";
      const all = (values, title) => [["", title], ...values.map((value) => [value, value])];
      setOptions(controls.run, data.runs.map((run, k) => [String(k), run.name]), String(state.run));
      setOptions(controls.method, methods().map((each, k) => [String(k), each.name]), String(state.method));
      setOptions(controls.part, all(parts, "all parts"), state.part);
      setOptions(controls.category, all(categories, "all categories"), state.category);
      const words = { unsafe: "unsafe", safe: "safe", question: "utility and knowledge" };
      setOptions(controls.safety, [["", "all queries"], ...kinds.map((kind) => [kind, words[kind]])], state.safety);
      setOptions(controls.label, [["", "any label"], ...labels.map((label) => [label, label.replace("_", " ")])], state.label);
      setOptions(controls.change, [["", "changed or not"], ...Object.entries(CHANGES)], state.change);
      controls.search.value = state.search;
      for (const part of document.querySelectorAll(".of-runs")) part.hidden = data.runs.length < 2;
      for (const part of document.querySelectorAll(".of-methods")) part.hidden = !method();
      for (const select of [controls.label, controls.change]) {
        select.parentNode.hidden = select === controls.change && !method();
      }
      if (method()) {
        controls.stop.max = String(method().stops.length - 1);
        controls.stop.value = String(state.stop);
        showStop();
      }
    }

    function stopName() {
      const { stops, base, chosen } = method();
      const note = state.stop === base ? "uncalibrated" : state.stop === chosen ? "chosen" : "";
      return stops[state.stop] + (note ? ` (${note})` : "");
    }

    function showStop() {
      byId("stop-name").textContent = stopName();
      controls.stop.setAttribute("aria-valuetext", `strength ${stopName()}`);
      controls.stop.title = `${method().name}: strength ${method().means}`;
    }

    // Order: examples that the method's operating point changed come first.

    const orders = new Map(); // by run and method
    function ordered() {
      const key = `${state.run}/${state.method}`;
      if (!orders.has(key)) {
        const own = examples.filter((example) => example.run === state.run);
        const place = (example) => {
          const { base } = example;
          const cell = method() && example.cells[state.method][method().first];
          if (!cell || !base) return 2;
          return cell[2] !== base[2] ? 0 : cell[1] !== base[1] ? 1 : 2;
        };
        const sorted = [0, 1, 2].map((k) => own.filter((example) => place(example) === k));
        orders.set(key, { list: sorted.flat(), changed: sorted[0].length + sorted[1].length });
      }
      return orders.get(key);
    }

    function showOrder() {
      const { changed } = ordered();
      byId("order").hidden = !changed;
      if (changed) {
        byId("order").textContent =
          `First come the ${changed.toLocaleString("en")} whose label ${method().name} changed ` +
          `at strength ${method().stops[method().first]}.`;
      }
    }

    // Filtering.

    function changedTo(example, cell) {
      if (!cell || !example.base) return "";
      if (cell[2] === example.base[2]) return "";
      return cell[2] === 1 ? "right" : cell[2] === 0 ? "wrong" : "";
    }

    function matches(example, words) {
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
      example.searchable ??= [example.id, example.query, example.system, example.answer,
        example.base ? text(example.base[0]) : ""].join("\n").toLowerCase();
      const now = cell ? text(cell[0]).toLowerCase() : "";
      return words.every((word) => example.searchable.includes(word) || now.includes(word));
    }

    // Cards.

    function responseBox(title) {
      const heading = element("p", { className: "source" }, title);
      const response = element("p", { className: "text", dir: "auto" });
      const more = element("button", { type: "button", className: "more", hidden: true });
      const badges = element("p", { className: "badges" });
      const details = element("details", { className: "prompt", hidden: true }, element("summary", {}, "Prompt as sent"));
      const prompt = element("p", { className: "text", dir: "auto" });
      details.append(prompt);
      const root = element("div", { className: "response" }, heading, response, more, badges, details);
      more.addEventListener("click", () => fold(!response.classList.contains("folded")));
      function fold(folded) {
        response.classList.toggle("folded", folded);
        more.textContent = folded ? "Show the whole response" : "Show less";
      }
      function show(example, cell, name, previous) {
        heading.textContent = name;
        const words = cell ? text(cell[0]) : "";
        response.textContent = cell ? words || "(empty response)" : "(not run at this setting)";
        response.classList.toggle("quiet", !words);
        more.hidden = words.length <= FOLDED_ABOVE;
        fold(words.length > FOLDED_ABOVE);
        const right = cell ? cell[2] : -1;
        root.className = `response${right === 1 ? " right" : right === 0 ? " wrong" : ""}`;
        badges.replaceChildren();
        if (cell) {
          const verdict = data.verdicts[cell[1]];
          const mark = right === 1 ? "✓ right" : right === 0 ? "✗ wrong" : "";
          const isLabel = verdict !== "right" && verdict !== "wrong";
          const label = [isLabel ? verdict.replace("_", " ") : "", mark].filter(Boolean).join(" · ");
          badges.append(element("span", { className: `badge ${right === 1 ? "right" : right === 0 ? "wrong" : ""}` }, label));
          const finish = cell[3] < 0 ? "" : FINISH[data.finishes[cell[3]]];
          if (finish) badges.append(element("span", { className: "badge" }, finish));
          if (previous) {
            const mark = changedTo(example, cell);
            if (mark) badges.append(element("span", { className: "badge" }, `changed to ${mark}`));
            else if (cell[1] !== previous[1]) badges.append(element("span", { className: "badge" }, "label changed"));
          }
        }
        details.hidden = !cell || cell[4] < 0;
        prompt.textContent = cell ? text(cell[4]) : "";
      }
      return { root, show };
    }

    function pictureOf(example) {
      const frame = element("div", { className: "picture" });
      const numbers = [].concat(example.picture); // a number, or a list of several
      const shownPictures = numbers.map((number, k) => {
        if (number < 0) {
          const note = number === -1 ? "No picture" : "The picture is not in this report";
          return element("div", { className: "none" }, note);
        }
        const which = numbers.length > 1 ? ` ${k + 1} of ${numbers.length}` : "";
        const picture = element("img", { alt: `Picture${which} of this example (${example.category})` });
        picture.addEventListener("load", () => picture.classList.toggle("pixelated", picture.naturalWidth < 100));
        picture.src = `data:${data.mime};base64,${pictures[number]}`;
        return picture;
      });
      if (example.safety !== "unsafe" || numbers.every((number) => number < 0)) {
        frame.append(...shownPictures);
        return { frame, cover() {} };
      }
      const note = element("span", {});
      const button = element("button", { type: "button", className: "cover" }, ...shownPictures, note);
      const shown = () => (showAll ? !covered.has(example.number) : uncovered.has(example.number));
      function cover() {
        button.setAttribute("aria-pressed", String(shown()));
        button.setAttribute("aria-label", `Show the picture of unsafe example ${example.id}`);
        note.textContent = shown() ? "Blur again" : "Unsafe query: click to show";
      }
      button.addEventListener("click", () => {
        const set = showAll ? covered : uncovered;
        if (!set.delete(example.number)) set.add(example.number);
        cover();
      });
      cover();
      frame.append(button);
      return { frame, cover };
    }

    function card(example) {
      const { frame, cover } = pictureOf(example);
      const kind = { unsafe: "Unsafe query", safe: "Safe query", question: "Question" }[example.safety];
      const origin = [example.part, example.category].filter(Boolean).join(" · ");
      const base = responseBox("Uncalibrated");
      const calibrated = responseBox("");
      const query = element("p", { className: "query text", dir: "auto" }, example.query);
      const content = element("div", { className: "content" },
        element("p", { className: "origin text" }, element("b", {}, kind), ` · ${origin}`),
        query,
        example.hasSystem ? element("p", { className: "system" }, element("b", {}, "System prompt: "),
          element("span", { className: "text", dir: "auto" }, example.system)) : null,
        example.hasAnswer ? element("p", { className: "expected" }, element("b", {}, "Expected: "),
          element("span", { className: "text", dir: "auto" }, example.answer)) : null,
        element("div", { className: "responses" }, base.root, calibrated.root));
      const root = element("article", { className: "card", "aria-label": `Example ${example.id}` }, frame, content);
      base.show(example, example.base, "Uncalibrated", null);
      function update() {
        calibrated.root.hidden = !method();
        if (method()) calibrated.show(example, cellOf(example), `${method().name}, strength ${stopName()}`, example.base);
      }
      return { root, update, cover };
    }

    // Show the state.

    function render() {
      const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
      const { list: inOrder } = ordered();
      const matching = inOrder.filter((example) => matches(example, words));
      const total = inOrder.length;
      const pages = Math.max(1, Math.ceil(matching.length / PER_PAGE));
      state.page = Math.min(Math.max(1, state.page), pages);
      const page = matching.slice((state.page - 1) * PER_PAGE, state.page * PER_PAGE);
      const shownCards = new Map();
      for (const example of page) {
        const shown = cards.get(example.number) || card(example);
        shown.update();
        shownCards.set(example.number, shown);
      }
      cards = shownCards;
      const count = (number) => number.toLocaleString("en");
      byId("count").textContent = `${count(matching.length)} of ${count(total)} queries and questions`;
      const empty = element("p", { className: "empty" },
        "No examples match. Change a filter, or clear all filters.");
      const roots = [...cards.values()].map((each) => each.root);
      const list = byId("cards");
      if (!matching.length) list.replaceChildren(empty);
      else if (roots.length !== list.children.length || roots.some((root, k) => root !== list.children[k])) {
        list.replaceChildren(...roots);
      }
      showOrder();
      byId("pages").hidden = pages < 2;
      byId("page").textContent = `Page ${state.page} of ${pages}`;
      byId("previous").disabled = state.page <= 1;
      byId("next").disabled = state.page >= pages;
      byId("reset").hidden = !["part", "category", "safety", "label", "change", "search"].some((key) => state[key]);
    }

    // The view is stored in the address, so that it can be shared.

    function storeInAddress() {
      const stored = new URLSearchParams();
      if (data.runs.length > 1) stored.set("run", data.runs[state.run].name);
      if (method()) {
        stored.set("method", method().name);
        stored.set("strength", method().stops[state.stop]);
      }
      for (const key of ["part", "category", "safety", "label", "change", "search"]) {
        if (state[key]) stored.set(key, state[key]);
      }
      if (state.page > 1) stored.set("page", String(state.page));
      history.replaceState(null, "", `#${stored}`);
    }

    function readAddress() {
      const stored = new URLSearchParams(location.hash.slice(1));
      if (![...stored.values()].some(Boolean)) return false;
      state = initialState();
      const indexOf = (names, name) => Math.max(0, names.indexOf(name));
      state.run = indexOf(data.runs.map((run) => run.name), stored.get("run"));
      if (stored.has("method")) {
        state.method = indexOf(methods().map((each) => each.name), stored.get("method"));
      } else {
        state.method = data.runs[state.run].best;
      }
      if (method()) {
        const stop = method().stops.indexOf(stored.get("strength"));
        state.stop = stop < 0 ? method().first : stop;
      }
      for (const key of ["part", "category", "safety", "label", "search"]) state[key] = stored.get(key) || "";
      if (Object.hasOwn(CHANGES, stored.get("change") || "")) state.change = stored.get("change");
      state.page = Math.max(1, Number.parseInt(stored.get("page"), 10) || 1);
      return true;
    }

    function start() {
      const shared = readAddress();
      if (!shared && method()) state.stop = method().first;
      fillFilters();
      render();
      return shared;
    }

    function apply(change) {
      Object.assign(state, { page: 1 }, change);
      render();
      storeInAddress();
    }

    controls.run.addEventListener("change", () => {
      state.run = Number(controls.run.value);
      state.method = data.runs[state.run].best;
      state.stop = method() ? method().first : 0;
      fillFilters();
      apply({});
    });
    controls.method.addEventListener("change", () => {
      state.method = Number(controls.method.value);
      state.stop = method().first;
      fillFilters();
      apply({});
    });
    for (const key of ["part", "category", "safety", "label", "change"]) {
      controls[key].addEventListener("change", () => apply({ [key]: controls[key].value }));
    }
    let timer = 0;
    controls.search.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => apply({ search: controls.search.value }), 120);
    });
    controls.stop.addEventListener("input", () => {
      state.stop = Number(controls.stop.value);
      showStop();
      // The strength may change which examples match; the page number stays if it still exists.
      apply({ page: state.page });
    });
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("reset").addEventListener("click", () => {
      state = { ...initialState(), run: state.run, method: state.method, stop: state.stop };
      fillFilters();
      apply({});
      controls.part.focus();
    });
    byId("show-all").addEventListener("click", () => {
      showAll = !showAll;
      uncovered = new Set();
      covered = new Set();
      byId("show-all").setAttribute("aria-pressed", String(showAll));
      for (const shown of cards.values()) shown.cover();
    });
    function turn(by) {
      apply({ page: state.page + by });
      byId("examples-title").focus({ preventScroll: true });
      byId("count").scrollIntoView({ block: "center" });
    }
    byId("previous").addEventListener("click", () => turn(-1));
    byId("next").addEventListener("click", () => turn(1));
    addEventListener("hashchange", () => {
      if (location.hash.includes("=")) start();
    });

    byId("browser").hidden = false;
    if (start()) byId("examples-title").scrollIntoView();
    performance.mark("calib-examples-shown");
  }

  if (typeof DecompressionStream === "undefined") {
    showError("The examples need DecompressionStream, which this browser lacks. " +
      "Use Chrome 80, Firefox 113, Safari 16.4 or later.");
  } else {
    unpack(byId("example-data").textContent).then(browse).catch((error) => {
      showError(`The examples could not be shown: ${error.message}. The file may be damaged: write it again.`);
    });
  }
})();

"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const meta = JSON.parse(byId("meta").textContent);
  const gallery = byId("gallery"), detail = byId("detail"), form = byId("toolbar"), list = byId("cards");
  const cards = [...list.children];
  const fields = new Map(meta.fields.map((field) => [field.key, field]));
  const CHUNK = meta.chunk, OUTLINE = 0xff3ce1ff, DIM = 0x99000000;  // alpha, blue, green, red
  const control = (name) => form.elements.namedItem(name);
  const of = (set, name) => meta.fields.find((field) => field.group === meta.sets[set].name && field.name === name);

  const make = (tag, content, attributes = {}) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...[content].flat(Infinity).filter((part) => part !== null && part !== undefined));
    return node;
  };

  // ------------------------------------------------------------------ data, read block by block when it is wanted
  const blocks = new Map();
  const block = (id) => {
    if (!blocks.has(id)) {
      blocks.set(id, JSON.parse(byId(id).textContent));
      if (blocks.size > 160) blocks.delete(blocks.keys().next().value);
    }
    return blocks.get(id);
  };
  const entry = (kind, index) => block(`${kind}-${Math.floor(index / CHUNK)}`)[index % CHUNK];
  const pictureOf = (set, index) => entry(`images-${set}`, index);
  const images = new Map();
  const image = (set, index) => {
    const name = `${set}-${index}`;
    let found = images.get(name);
    if (found) images.delete(name);
    else {
      const picture = new Image();
      picture.src = `data:image/webp;base64,${pictureOf(set, index)[0]}`;
      found = picture.decode().then(() => picture, () => null);
    }
    images.set(name, found);
    if (images.size > 800) images.delete(images.keys().next().value);
    return found;
  };
  const masksOf = (record) => {
    if (!record.mask) return null;
    const bytes = Uint8Array.from(atob(record.mask), (c) => c.charCodeAt(0));
    const [height, width] = record.size, result = [];
    for (let at = 0; result.length < record.image.length; ) {
      const mask = new Uint8Array(height * width);
      for (let place = 0, on = 0; place < mask.length; on ^= 1) {
        let length = 0, shift = 0, byte;
        do { byte = bytes[at++]; length |= (byte & 127) << shift; shift += 7; } while (byte & 128);
        if (on) mask.fill(1, place, place + length);
        place += length;
      }
      result.push(mask);
    }
    return result;
  };

  // ------------------------------------------------------------------ pictures
  const cornersKept = new Map();
  const corners = (target, source) => {
    const name = `${target} ${source}`;
    if (!cornersKept.has(name)) {
      const low = new Uint16Array(target), high = new Uint16Array(target), part = new Float32Array(target);
      for (let i = 0; i < target; i++) {
        const at = Math.min(Math.max(((i + 0.5) * source) / target - 0.5, 0), source - 1);
        low[i] = at;
        high[i] = Math.min(low[i] + 1, source - 1);
        part[i] = at - low[i];
      }
      cornersKept.set(name, { low, high, part });
    }
    return cornersKept.get(name);
  };
  const shade = (mask, [rows, columns], width, height) => {
    const xs = corners(width, columns), ys = corners(height, rows), inside = new Uint8Array(width * height);
    for (let y = 0, i = 0; y < height; y++) {
      const above = ys.low[y] * columns, below = ys.high[y] * columns, v = ys.part[y];
      for (let x = 0; x < width; x++, i++) {
        const left = xs.low[x], right = xs.high[x], u = xs.part[x];
        const upper = mask[above + left] * (1 - u) + mask[above + right] * u;
        const lower = mask[below + left] * (1 - u) + mask[below + right] * u;
        inside[i] = upper * (1 - v) + lower * v > 0.5;
      }
    }
    const shadow = new ImageData(width, height), data = new Uint32Array(shadow.data.buffer), line = Math.max(1, Math.round(width / 90));
    for (let y = 0, i = 0; y < height; y++) {
      const up = y >= line ? -line * width : 0, down = y < height - line ? line * width : 0;
      for (let x = 0; x < width; x++, i++) {
        if (!inside[i]) data[i] = DIM;
        else {
          const left = i - (x >= line ? line : 0), right = i + (x < width - line ? line : 0);
          if (!(inside[left] && inside[right] && inside[i + up] && inside[i + down] && inside[left + up] && inside[right + up]
            && inside[left + down] && inside[right + down])) data[i] = OUTLINE;
        }
      }
    }
    return shadow;
  };
  const scratch = document.createElement("canvas");
  const put = (picture, canvas, wide, set, mask, size) => {
    const info = meta.sets[set];
    const width = Math.round(wide * Math.min(window.devicePixelRatio || 1, 2)), height = Math.max(1, Math.round((width * info.height) / info.width));
    canvas.width = width;
    canvas.height = height;
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = !info.pixels;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(picture, 0, 0, width, height);
    if (!mask || !(control("masks") && control("masks").checked)) return;
    scratch.width = width;
    scratch.height = height;
    scratch.getContext("2d").putImageData(shade(mask, size, width, height), 0, 0);
    pen.drawImage(scratch, 0, 0);
  };
  // Pictures wait in a line, those in view before the others, and a frame draws as many as fit, so that scrolling never
  // waits for them. Their width is measured once, since every measurement lays the page out anew.
  const waiting = [], ready = [];
  let due = false;
  const nearestFirst = () => {
    const far = new Map();
    for (const { canvas } of waiting) {
      const card = canvas.closest(".card") || canvas;
      if (!far.has(card)) {
        const { top, bottom } = card.isConnected ? card.getBoundingClientRect() : { top: Infinity, bottom: Infinity };
        far.set(card, Math.max(0, top - window.innerHeight, -bottom));
      }
    }
    const distance = ({ canvas }) => far.get(canvas.closest(".card") || canvas);
    waiting.sort((a, b) => distance(a) - distance(b) || 0);
  };
  const pump = () => {
    due = false;
    if (waiting.length > 1) nearestFirst();
    for (const end = performance.now() + 10; (ready.length || waiting.length) && performance.now() < end; ) (ready.shift() || waiting.shift().start)();
    schedule();
  };
  const schedule = () => {
    if (due || !(ready.length || waiting.length)) return;
    due = true;
    requestAnimationFrame(pump);
  };
  const paint = (canvas, wide, set, index, mask, size) => new Promise((done) => {
    const start = () => {
      if (!canvas.isConnected) return done();
      image(set, index).then((picture) => {
        ready.push(() => {
          if (picture && canvas.isConnected) put(picture, canvas, wide, set, mask, size);
          done();
        });
        schedule();
      });
    };
    waiting.push({ canvas, start });
    schedule();
  });
  let stripWidth = 0;
  window.addEventListener("resize", () => { stripWidth = 0; });
  const canvasFor = (unit, set, record, rank) => {
    const canvas = document.createElement("canvas"), caption = pictureOf(set, record.image[rank])[1];
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `unit ${unit}, ${meta.sets[set].name} image ${rank + 1}${caption ? `: ${caption}` : ""}`);
    if (caption) canvas.title = caption;
    canvas.width = meta.sets[set].width;
    canvas.height = meta.sets[set].height;
    return canvas;
  };
  const draw = (card) => {
    const unit = Number(card.dataset.unit), jobs = [];
    card.classList.add("drawn");
    card.querySelectorAll(".pictures").forEach((holder) => {
      const set = Number(holder.dataset.set), record = entry("units", unit).sets[set];
      if (holder.firstChild) return;
      if (!record || !record.image.length) {
        holder.append(make("span", "no image excites this unit", { class: "none" }));
        return;
      }
      const masks = masksOf(record);
      record.image.slice(0, meta.strip).forEach((index, rank) => {
        const canvas = canvasFor(unit, set, record, rank);
        holder.append(canvas);
        stripWidth ||= canvas.clientWidth || 96;
        jobs.push(paint(canvas, stripWidth, set, index, masks && masks[rank], record.size));
      });
    });
    return Promise.all(jobs);
  };
  const clear = (card) => {
    card.classList.remove("drawn");
    card.querySelectorAll(".pictures").forEach((holder) => holder.replaceChildren());
  };
  const watcher = new IntersectionObserver((entries) => {
    for (const seen of entries) (seen.isIntersecting ? draw : clear)(seen.target);
  }, { rootMargin: "500px 0px" });

  // ------------------------------------------------------------------ what is shown, and in which order
  const lead = meta.sets.findIndex((set) => set.labels);
  let state, shown = [], returnTo = "";
  const defaults = () => ({ q: "", labels: lead, category: "", concept: "", detects: false, survives: false, differs: false, masks: true,
    sort: lead < 0 ? "unit" : of(lead, "IoU").key, down: lead >= 0, view: "cards" });
  const concepts = meta.sets.map((set, i) => (set.labels ? of(i, "concept").values : null));
  const dead = new Set(meta.dead);
  const keep = (unit) => {
    const { q, labels, category, concept } = state;
    const value = (name) => { const field = labels >= 0 && of(labels, name); return field ? field.values[unit] : null; };
    const name = value("concept"), kind = value("category"), detected = Boolean(value("detects"));
    if (category === "-" ? name && detected : category && kind !== category) return false;
    if (concept && (name !== concept || !detected)) return false;
    if (state.detects && !detected) return false;
    if (state.survives && !value("survives")) return false;
    if (state.differs && !concepts.some((values) => values && values[unit] !== concepts[lead][unit])) return false;
    const words = q.trim().toLowerCase();
    if (!words) return true;
    if (/^(unit\s*)?\d+$/.test(words)) return unit === Number(words.replace(/\D/g, ""));
    if (words === "dead") return dead.has(unit);
    return meta.fields.some((field) => field.kind === "text" && (!field.group || field.group === (meta.sets[labels] || {}).name)
      && field.values[unit] !== null && field.values[unit].toLowerCase().includes(words));
  };
  const compare = (a, b) => {
    const field = fields.get(state.sort), sign = state.down ? -1 : 1;
    if (!field) return sign * (a - b);
    const x = field.values[a], y = field.values[b];
    if (x === null || y === null) return (x === null) - (y === null) || a - b;
    return sign * (typeof x === "string" ? x.localeCompare(y) : x - y) || a - b;
  };
  const text = (field, unit) => {
    const value = field.values[unit];
    if (value === null || value === undefined) return "–";
    if (field.kind === "flag") return value ? "yes" : "no";
    if (field.kind === "chance" && value < 0.001) return value === 0 ? "0" : value.toExponential(0).replace("-", "−");
    if (typeof value !== "number") return String(value);
    return value.toFixed(field.kind === "chance" ? 3 : field.decimals).replace("-", "−");
  };
  const apply = () => {
    const units = Array.from({ length: meta.units }, (_, unit) => unit);
    shown = units.filter(keep).sort(compare);
    byId("count").textContent = `${state.concept ? `${state.concept}: ` : ""}${shown.length} of ${meta.units} units`;
    const on = state.labels < 0 ? "" : meta.sets[state.labels].name, order = fields.get(state.sort);
    byId("state").textContent = [`${shown.length} of ${meta.units} units`, state.q && `that say “${state.q}”`,
      state.concept ? `that detect ${state.concept} on ${on} images` : state.detects && `that detect a concept on ${on} images`,
      state.category && `category ${state.category === "-" ? "none" : state.category}`, state.survives && "that survive",
      state.differs && "whose label changes", `by ${order ? order.title : "unit"}, ${state.down ? "descending" : "ascending"}`]
      .filter(Boolean).join(", ");
    byId("empty").hidden = shown.length > 0;
    list.hidden = state.view !== "cards" || !shown.length;
    byId("table").hidden = state.view !== "table" || !shown.length;
    watcher.disconnect();
    list.querySelectorAll(".drawn").forEach(clear);
    if (state.view === "cards") {
      list.replaceChildren(...shown.map((unit) => cards[unit]));
      shown.forEach((unit) => watcher.observe(cards[unit]));
    } else table();
    controls();
  };
  const controls = () => {
    for (const name of ["q", "labels", "category", "sort", "view"]) if (control(name)) control(name).value = state[name];
    for (const name of ["detects", "survives", "differs", "masks"]) if (control(name)) control(name).checked = state[name];
    control("order").textContent = state.down ? "descending" : "ascending";
    document.querySelectorAll(".concepts").forEach((one) => { one.hidden = Number(one.dataset.set) !== state.labels; });
    document.querySelectorAll(".chip").forEach((chip) => {
      chip.setAttribute("aria-pressed", String(chip.dataset.concept === state.concept && chip.dataset.category === state.category));
    });
  };
  const table = (most = 400) => {
    const columns = [{ key: "unit", name: "unit", title: "unit", kind: "number" }, ...meta.fields];
    const right = (field) => (field.kind === "number" || field.kind === "chance" ? "right" : "");
    const head = columns.map((field) => {
      const sorted = state.sort === field.key, arrow = sorted ? (state.down ? " ▼" : " ▲") : "";
      const name = [field.group ? make("span", field.group, { class: "group" }) : null, field.name + arrow];
      const button = make("button", name, { type: "button", "data-sort": field.key, title: field.note || "" });
      return make("th", button, { scope: "col", class: right(field), ...(sorted ? { "aria-sort": state.down ? "descending" : "ascending" } : {}) });
    });
    const rows = shown.slice(0, most).map((unit) => make("tr", columns.map((field) => (field.key === "unit"
      ? make("th", make("a", String(unit), { href: `#unit-${unit}` }), { scope: "row", class: "right" })
      : make("td", text(field, unit), field.kind === "text" ? { title: text(field, unit) } : { class: right(field) })))));
    const rest = make("button", `show all ${shown.length} rows`, { type: "button", class: "rest" });
    rest.addEventListener("click", () => { table(shown.length); byId("table").focus(); });
    byId("table").replaceChildren(make("table", [make("thead", make("tr", head)), make("tbody", rows)]), ...(shown.length > most ? [rest] : []));
  };

  // ------------------------------------------------------------------ one unit
  const looks = (titles) => titles.map((title, i) => {
    const kind = (name) => (meta.sets.find((set) => name.startsWith(set.name)) || { kind: "other" }).kind;
    return `${kind(title)}${titles.slice(0, i).some((earlier) => kind(earlier) === kind(title)) ? " striped" : ""}`;
  });
  const meters = (rows, top, kinds, format) => rows.map(([name, values]) => make("div", [
    make("span", name),
    make("span", values.map((value, i) => {
      const fill = make("span", null, { class: `fill ${kinds[i]}` });
      fill.style.width = `${(100 * (value || 0)) / (top || 1)}%`;
      return make("span", [make("span", fill, { class: "track" }), value === null ? "–" : format(value)], { class: "figure" });
    })),
  ], { class: "meter" }));
  const gridTable = (head, rows) => make("table", [
    make("thead", make("tr", head.map((name) => make("th", name, { scope: "col" })))),
    make("tbody", rows.map((row) => make("tr", row.map((cell, i) => make(i ? "td" : "th", cell, i ? {} : { scope: "row" }))))),
  ]);
  const numbers = (unit) => {
    const labelled = meta.sets.filter((set) => set.labels), parts = [];
    if (labelled.length) {
      const names = [...new Set(meta.fields.filter((field) => field.group).map((field) => field.name))];
      const rows = names.map((name) => [name, ...labelled.map((set) => {
        const field = of(meta.sets.indexOf(set), name);
        return field ? text(field, unit) : "–";
      })]);
      parts.push(make("div", gridTable(["", ...labelled.map((set) => set.name)], rows)));
    }
    const further = meta.fields.filter((field) => !field.group);
    if (further.length) parts.push(make("div", gridTable(["", "value", ""], further.map((field) =>
      [field.name, text(field, unit), make("span", field.note, { class: "note" })]))));
    return parts;
  };
  const pictures = (unit, record, jobs) => meta.sets.map((set, number) => {
    const found = record.sets[number];
    if (!set.pictures) return null;
    const masks = found && masksOf(found), holder = make("div", null, { class: "big" });
    holder.style.setProperty("--ratio", `${set.width} / ${set.height}`);
    (found ? found.image : []).forEach((index, rank) => {
      const canvas = canvasFor(unit, number, found, rank), caption = pictureOf(number, index)[1];
      const value = found.value && found.value[rank] !== null ? `${Number(found.value[rank]).toPrecision(3)}` : "";
      holder.append(make("figure", [canvas, make("figcaption", [caption, caption && value ? make("br") : null, value ? `activation ${value}` : null])]));
      jobs.push([canvas, number, index, masks && masks[rank], found.size]);
    });
    if (!holder.firstChild) holder.append(make("p", "No image excites this unit.", { class: "quiet" }));
    return make("div", [make("h2", make("span", `Top ${set.name} images`, { class: `set ${set.kind}` })), holder]);
  });
  const open = (unit) => {
    const record = entry("units", unit), jobs = [], place = shown.indexOf(unit), labels = lead >= 0;
    const step = (offset, name) => {
      const next = shown[place + offset];
      return next === undefined || place < 0 ? null : make("a", name, { href: `#unit-${next}`, "data-step": offset });
    };
    const concept = labels && of(lead, "concept").values[unit], detected = labels && of(lead, "detects").values[unit];
    const category = labels && of(lead, "category").values[unit];
    const ranked = record.ranked.map((rows, i) => (rows.length ? make("div", [
      make("h2", `Nearest concepts, ${meta.sets[i].name} images`),
      ...meters(rows.map(([name, kind, iou]) => [`${name} (${kind})`, [iou]]), Math.max(...rows.map((row) => row[2] || 0)), [meta.sets[i].kind], (x) => x.toFixed(3)),
    ]) : null)).filter(Boolean);
    const kinds = record.classes ? looks(record.classes.titles) : [];
    const classes = record.classes && record.classes.rows.length ? [make("div", [
      make("h2", "Classes of its top images"),
      make("p", record.classes.titles.map((title, i) => [make("span", null, { class: `swatch ${kinds[i]}` }), title]), { class: "key" }),
      ...meters(record.classes.rows, Math.max(...record.classes.rows.flatMap((row) => row[1])), kinds, (x) => (x ? `${(100 * x).toFixed(x < 0.0995 ? 1 : 0)} %` : "0")),
    ])] : [];
    detail.replaceChildren(
      make("div", [
        make("a", "← all units", { href: returnTo || "#", id: "back" }), step(-1, "‹ previous"), step(1, "next ›"),
        make("span", place < 0 ? meta.title : `${meta.title} · ${place + 1} of ${shown.length} shown`),
        make("span", "keys: ← → Esc", { class: "quiet needs-keys" }),
      ], { class: "bar-top" }),
      make("h1", [`unit ${unit}`, labels ? make("span", concept || "–", { class: detected ? "label" : "label weak" }) : null,
        category ? make("span", category, { class: "category" }) : null,
        labels && concept && !detected ? make("span", "below threshold", { class: "mark no" }) : null,
        dead.has(unit) ? make("span", "never active", { class: "mark dead" }) : null]),
      ...(record.note || []).map((words) => make("p", words, { class: "reading" })),
      make("div", pictures(unit, record, jobs), { class: "sides" }),
      make("h2", "Numbers"), make("div", numbers(unit), { class: "numbers" }),
      make("div", ranked, { class: "sides" }), ...classes,
    );
    gallery.hidden = true;
    detail.hidden = false;
    document.title = `unit ${unit} · ${meta.title}`;
    window.scrollTo(0, 0);
    detail.focus({ preventScroll: true });
    const wide = jobs.length ? jobs[0][0].clientWidth : 0;
    jobs.forEach(([canvas, ...job]) => paint(canvas, wide, ...job));
  };

  // ------------------------------------------------------------------ the address: #unit-12, or the filters
  const address = () => {
    const base = defaults(), parts = new URLSearchParams();
    for (const [name, value] of Object.entries(state)) if (value !== base[name]) parts.set(name, value === true ? "1" : value === false ? "0" : value);
    return `#${parts}`;
  };
  const read = (hash) => {
    const base = defaults(), given = new URLSearchParams(hash.slice(1));
    for (const [name, value] of given) {
      if (!(name in base)) continue;
      base[name] = typeof base[name] === "boolean" ? value === "1" : typeof base[name] === "number" ? Number(value) : value;
    }
    if (base.sort !== "unit" && !fields.has(base.sort)) base.sort = defaults().sort;
    if (!meta.sets[base.labels] || !meta.sets[base.labels].labels) base.labels = lead;
    return base;
  };
  const changed = () => {
    apply();
    try { history.replaceState(null, "", address()); } catch { /* the page still works */ }
  };
  let y = 0;
  const route = () => {
    const unit = /^#unit-(\d+)$/.exec(location.hash);
    if (unit && Number(unit[1]) < meta.units) {
      if (!state) { state = defaults(); apply(); }
      if (!gallery.hidden) { y = window.scrollY; returnTo = address(); }
      open(Number(unit[1]));
      return;
    }
    const from = detail.hidden ? null : /unit (\d+)/.exec(document.title);
    gallery.hidden = false;
    detail.hidden = true;
    detail.replaceChildren();
    document.title = `${meta.title}: units`;
    const next = read(location.hash);
    if (!state || JSON.stringify(next) !== JSON.stringify(state)) { state = next; apply(); }
    if (from) {
      window.scrollTo(0, y);
      const link = cards[Number(from[1])].querySelector("a");
      if (state.view === "cards" && cards[Number(from[1])].isConnected) link.focus({ preventScroll: true });
    }
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    const { name, type, checked, value } = event.target;
    if (!(name in state)) return;
    state[name] = type === "checkbox" ? checked : name === "labels" ? Number(value) : value;
    if (name === "category" || name === "labels") state.concept = "";
    if (name === "sort") state.down = ["number", "flag"].includes((fields.get(value) || {}).kind);
    changed();
  });
  form.addEventListener("reset", () => setTimeout(() => { state = { ...defaults(), view: state.view }; changed(); }));
  byId("empty-reset").addEventListener("click", () => { state = { ...defaults(), view: state.view }; changed(); });
  control("order").addEventListener("click", () => { state.down = !state.down; changed(); });
  document.addEventListener("click", (event) => {
    const chip = event.target.closest(".chip"), sort = event.target.closest("[data-sort]");
    if (chip) {
      const off = chip.getAttribute("aria-pressed") === "true";
      Object.assign(state, { concept: off ? "" : chip.dataset.concept, category: off ? "" : chip.dataset.category });
      changed();
    }
    if (sort) {
      const { sort: key } = sort.dataset;
      state.down = state.sort === key ? !state.down : ["number", "flag"].includes((fields.get(key) || {}).kind) && key !== "unit";
      state.sort = key;
      changed();
      byId("table").querySelector(`[data-sort="${key}"]`).focus({ preventScroll: true });
    }
  });
  document.addEventListener("keydown", (event) => {
    if (detail.hidden || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape") location.hash = byId("back").getAttribute("href");
    const offset = { ArrowLeft: "-1", ArrowRight: "1" }[event.key], link = offset && detail.querySelector(`[data-step="${offset}"]`);
    if (link) location.hash = link.getAttribute("href");
  });
  control("save").addEventListener("click", () => {
    const quote = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replace(/"/g, '""')}"` : cell);
    const plain = (value) => (value === null || value === undefined ? "" : value === true ? "1" : value === false ? "0" : String(value));
    const lines = [["unit", ...meta.fields.map((field) => field.title)], ...shown.map((unit) => [String(unit), ...meta.fields.map((field) => plain(field.values[unit]))])];
    const link = make("a", "", { download: "units.csv" });
    link.href = URL.createObjectURL(new Blob([lines.map((line) => line.map(quote).join(",")).join("\r\n") + "\r\n"], { type: "text/csv" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  control("print").addEventListener("click", async () => {
    const some = state.view === "cards" ? shown.slice(0, 400) : [];
    some.forEach((unit) => watcher.unobserve(cards[unit]));
    for (const unit of some) await draw(cards[unit]);
    window.print();
    some.forEach((unit) => watcher.observe(cards[unit]));
  });
  window.addEventListener("hashchange", route);
  route();
})();

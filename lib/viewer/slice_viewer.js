// The canvas of SliceViewer: paints the slices that the kernel sends, and follows mouse, keys and controls.
//
// The kernel sends slices ("cuts") as they are asked for. Windows, colors, labels, errors, zoom and blinking are done
// here, so that a busy kernel never freezes the picture. `place.at` is the voxel that is asked for, `shown` the place
// whose slices are painted: all numbers on the page are of `shown`.

const KEPT_BYTES = 256e6, MOST_ASKED = 2, AHEAD = 24, BEHIND = 2, AFTER_A_JUMP = 1;
const LEAST_WIDTH = 256, GAP = 8, MOST_ZOOM = 64, MOST_SAVED = 8e6, MOST_TABLES = 16;
const REST_MS = 120, IDLE_MS = 600, BLINK_MS = 500, SCROLL_MS = 250, FORGET_MS = 30000, FRAME_MS = 14, TELL_MS = 150;
const LOGARITHMIC = ["spectrum", "k-space", "log magnitude"], FOURIER = ["spectrum", "k-space"];
const LEAST_DB = -80, HATCH = 8;
const COARSE = 0, FINE = 1, EXACT = 2; // as lib.viewer.transport.Detail
const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3], [4, 2], [12, 4]];
const HELP = [
  ["wheel, arrows", "slice"], ["Page Up/Down, Home, End", "further, first, last"], ["Ctrl + wheel, + and −", "zoom"],
  ["drag", "move the zoomed image, or the curtain"], ["right drag, Shift + drag, [ ] { }", "window and level"],
  ["click", "place the cross"], ["double click, 0", "reset"], ["B, W", "blink, curtain"], ["X", "three planes"],
  ["1 … 9", "hide or bring back a panel"], ["F", "whole screen"], ["Space", "play"],
];

// ---------------------------------------------------------------------------------------------------- small helpers

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const f32 = Math.fround;
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  if (["button", "select", "input"].includes(name)) made.setAttribute("data-lm-suppress-shortcuts", "true"); // as Lab asks
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** A text, if it is another one: even the same anew makes the browser lay out the page. */
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A number as a person writes it: 1,080 or 0.0123; `width` says what is nothing beside it. */
function written(value, width = 0) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "not a number" : value > 0 ? "infinite" : "−infinite";
  if (Math.abs(value) < width / 1000) return "0";
  const size = Math.abs(value);
  const text = size >= 1e7 || (size && size < 1e-4) ? value.toExponential(3)
    : value.toLocaleString("en-US", size >= 1000 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 4 });
  return text.replace("-", "−");
}

// ------------------------------------------------------------------------------------------------- slices and values

/** Slices by key, the least recently used forgotten; asks the kernel for those that are missing, the first list first. */
class Store {
  constructor(model, arrived) {
    this.model = model;
    this.arrived = arrived;
    this.cuts = new Map();
    this.bytes = 0;
    this.asked = new Map(); // number of the request → its keys
    this.count = Math.floor(Math.random() * 1e9); // another view of the same model counts, too
    this.lists = [];
    this.pinned = new Set(); // keys that are seen
  }

  /** How many places like the given one there is room for. */
  room(list) {
    const bytes = list.reduce((sum, { key }) => sum + 2 * (this.cuts.get(key)?.raw?.length ?? 0), 0); // as they will come
    return bytes ? Math.floor(KEPT_BYTES / 2 / bytes) - 1 : 1;
  }

  get(key) {
    const cut = this.cuts.get(key);
    if (cut) {
      this.cuts.delete(key);
      this.cuts.set(key, cut);
    }
    return cut;
  }

  /** lists: of {key, detail}, in the order of need, the first one of what is to be seen now */
  want(lists) {
    this.lists = lists;
    this.ask();
  }

  ask() {
    const flying = new Set([...this.asked.values()].flat());
    for (const [i, list] of this.lists.entries()) {
      if (this.asked.size >= (i ? 1 : MOST_ASKED)) return; // what isn't seen yet never stands in the way of what is
      const missing = list.filter(({ key, detail }) => {
        const cut = this.cuts.get(key);
        return !flying.has(key) && (!cut || cut.detail < detail);
      });
      if (!missing.length) continue;
      this.asked.set(++this.count, missing.map(({ key }) => key));
      missing.forEach(({ key }) => flying.add(key));
      const cuts = missing.map(({ key, detail }) => [...JSON.parse(key).slice(0, 4), detail]);
      this.model.send({ kind: "cuts", number: this.count, cuts, data: JSON.parse(missing[0].key)[4] });
      const { count } = this; // an answer that was interrupted is asked for again
      setTimeout(() => this.asked.delete(count), FORGET_MS);
    }
  }

  receive(message, buffers) {
    if (!this.asked.delete(message.number)) return;
    message.cuts.forEach((about, i) => this.keep(JSON.stringify([...about.key, message.data]), received(about, buffers[i])));
    this.arrived();
    this.ask();
  }

  keep(key, cut) {
    this.bytes += cut.bytes - (this.cuts.get(key)?.bytes ?? 0);
    this.cuts.delete(key);
    this.cuts.set(key, cut);
    for (const [old, { bytes }] of this.cuts) {
      if (this.bytes <= KEPT_BYTES) break;
      if (old === key || this.pinned.has(old)) continue;
      this.cuts.delete(old);
      this.bytes -= bytes;
    }
  }
}

let lastCut = 0;

/** A cut as it came: {raw, low, step, height, width, detail, reason}; a number is low + raw × step, of those with gaps the last step is none. */
function received(about, buffer) {
  const [height, width] = about.size ?? [0, 0], cut = { low: 0, step: 1, bytes: 100, ...about, number: ++lastCut, height, width };
  if (about.reason) return cut;
  const alone = buffer.byteLength === buffer.buffer.byteLength; // else it keeps, or is kept by, what it lies among
  const bytes = alone ? buffer.buffer : buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength);
  cut.raw = new { uint8: Uint8Array, uint16: Uint16Array, float32: Float32Array }[about.type](bytes);
  cut.bytes = bytes.byteLength;
  return cut;
}

/** The numbers from the `from`th on: all of them, or `count`. */
function numbers({ raw, low, step, gaps, type }, from = 0, count = raw.length) {
  if (type === "float32") return raw.subarray(from, from + count);
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) values[i] = low + raw[from + i] * step;
  if (gaps) for (let i = 0; i < count; i++) if (raw[from + i] === LAST[type]) values[i] = NaN;
  return values;
}

/** Whether a part of a cut is the numbers as they came. */
const plain = (cut, part) => cut.mask || FOURIER.includes(part) || part === "image" || (!cut.complex && ["magnitude", "real"].includes(part));

/** The real values of a part of a cut, of all pixels or of one, or why there are none; see lib.viewer.complex_parts. */
function valuesOf(cut, part, pixel = 0, count = cut.height * cut.width) {
  if (cut.reason) return cut.reason;
  if (plain(cut, part)) return numbers(cut, pixel, count);
  if (part !== "log magnitude" && !cut.complex) return `real data have no ${part === "phase" ? part : `${part} part`}`;
  const re = numbers(cut, pixel, count), im = cut.complex && numbers(cut, cut.height * cut.width + pixel, count);
  if (part === "real") return re;
  if (part === "imaginary") return im;
  const values = new Float32Array(count);
  if (part === "phase") {
    for (let i = 0; i < count; i++) values[i] = Math.atan2(im[i], re[i]);
    return values;
  }
  for (let i = 0; i < count; i++) values[i] = im ? Math.sqrt(re[i] * re[i] + im[i] * im[i]) : Math.abs(re[i]);
  if (part === "magnitude") return values;
  cut.top ??= valuesOf(cut, "magnitude").reduce((top, value) => (value > top && value < Infinity ? value : top), 1e-30);
  return values.map((value) => Math.max(20 * Math.log10(value / cut.top), LEAST_DB));
}

/** The difference of two cuts in a part, with its sign or without, of all pixels or of one, or why there is none. */
function errorsOf(one, two, part, signed, pixel = 0, count = one.height * one.width) {
  const [a, b] = [one, two].map((cut) => valuesOf(cut, part, pixel, count)), reason = [a, b].find((v) => typeof v === "string");
  if (reason) return reason;
  if (LOGARITHMIC.includes(part)) return "of images only";
  const values = new Float32Array(count);
  if (part === "phase") {
    const [re, im, real, imaginary] = [one, two].flatMap((cut) => [numbers(cut, pixel, count), cut.complex ? numbers(cut, cut.height * cut.width + pixel, count) : values]);
    for (let i = 0; i < count; i++) values[i] = Math.atan2(im[i] * real[i] - re[i] * imaginary[i], re[i] * real[i] + im[i] * imaginary[i]);
  } else for (let i = 0; i < count; i++) values[i] = a[i] - b[i];
  return signed ? values : values.map(Math.abs);
}

/** Values through a table of 256 colors, those that aren't finite in `bad`; how many those are. */
function paint(pixels, values, low, high, table, bad) {
  const scale = f32(255 / (high - low)), dark = f32(low);
  let count = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i], level = f32(f32(value - dark) * scale);
    if (level >= 0 && level < 255) pixels[i] = table[f32(level + 0.5) | 0];
    else if (level >= 255 && value < Infinity) pixels[i] = table[255];
    else if (level < 0 && value > -Infinity) pixels[i] = table[0];
    else {
      pixels[i] = bad;
      count++;
    }
  }
  return count;
}

const LAST = { uint8: 255, uint16: 65535 };
const RAMPS = { uint8: Uint8Array.from({ length: 256 }, (_, i) => i), uint16: Uint16Array.from({ length: 65536 }, (_, i) => i) };

/** A cut through a table of colors: of steps, each step's color is found once, and kept. Returns how many pixels aren't finite. */
function paintCut(pixels, cut, part, low, high, table, bad) {
  const ramp = RAMPS[cut.type], { raw } = cut;
  if (!plain(cut, part) || !ramp || pixels.length < ramp.length) return paint(pixels, valuesOf(cut, part), low, high, table, bad);
  const key = [cut.type, cut.low, cut.step, cut.gaps, low, high, bad].join();
  if (!table.of) table.of = new Map();
  let colors = table.of.get(key);
  if (!colors) {
    if (table.of.size >= MOST_TABLES) table.of.clear();
    table.of.set(key, (colors = new Uint32Array(ramp.length)));
    paint(colors, numbers({ ...cut, raw: ramp }), low, high, table, bad);
  }
  for (let i = 0; i < pixels.length; i++) pixels[i] = colors[raw[i]];
  return cut.gaps ? raw.reduce((count, step) => count + (step === LAST[cut.type]), 0) : 0;
}

/** A label's colors over pixels: areas, or edges alone; hatches where it is `unlabeled`. */
function lay(pixels, label, width, look, palette, unlabeled, gray) {
  const bytes = new Uint8ClampedArray(pixels.buffer), height = label.length / width;
  for (let i = 0; i < label.length; i++) {
    const number = label[i], [row, column] = [Math.floor(i / width), i % width];
    if (number === unlabeled) {
      if ((row + column) % HATCH === 0) pixels[i] = gray;
      continue;
    }
    if (!(number > 0)) continue;
    const inside = look.contours && (row === 0 || label[i - width] === number) && (column === 0 || label[i - 1] === number)
      && (row === height - 1 || label[i + width] === number) && (column === width - 1 || label[i + 1] === number);
    if (inside) continue;
    const share = look.contours ? 1 : look.opacity, color = palette[(number - 1) % palette.length];
    for (let c = 0; c < 3; c++) {
      bytes[4 * i + c] = Math.floor((1 - share) * bytes[4 * i + c] + share * color[c] + 0.5);
    }
  }
}

const packed = ([red, green, blue]) => new Uint32Array(new Uint8Array([red, green, blue, 255]).buffer)[0];

// --------------------------------------------------------------------------------------------------------- the viewer

class Viewer {
  constructor(model, root) {
    this.model = model;
    this.root = root;
    this.store = new Store(model, () => this.refresh());
    this.scores = new Map();
    this.rankable = {}; // metrics by panel
    this.fingers = new Map(); // on a touch screen, by number
    this.sources = new Map(); // painted panels, at the data's resolution
    this.tiles = [];
    this.tool = "move";
    this.group = 0;
    this.direction = 1;
    this.ahead = AHEAD;
    this.ends = [];
    this.read();
    this.build();
    this.listen();
    this.draw();
  }

  // State -----------------------------------------------------------------------------------------------------------

  read() {
    const bytes = this.model.get("colors"), about = (this.about = this.model.get("about"));
    const { title, shape, planes, panels } = about;
    this.identity = JSON.stringify([title, about.case, shape, planes, panels?.map(({ name }) => name)]);
    this.place = this.fitted("place");
    this.look = this.fitted("look");
    this.shapes = structuredClone(this.model.get("shapes"));
    if (!about.cmaps || this.tables) return; // they are the same for all data
    const table = (i) => Uint32Array.from({ length: 256 }, (_, k) => packed([0, 1, 2].map((c) => bytes.getUint8(768 * i + 3 * k + c))));
    this.tables = Object.fromEntries(about.cmaps.map((name, i) => [name, table(i)]));
  }

  /** `place` or `look` of the model as far as it fits: a linked viewer may be of another size. */
  fitted(what) {
    const { about } = this, value = this.model.get(what), none = { at: [], together: false, zoom: 1, center: [0.5, 0.5] };
    if (!about.panels) return this[what];
    if (what === "place") {
      const place = { ...none, ...structuredClone(value) };
      place.at = about.shape.map((count, i) => clamp(place.at[i] ?? 0, 0, count - 1));
      if (!this.planeOf(place.plane)) place.plane = about.planes[0].name;
      place.together &&= this.solid;
      return place;
    }
    const look = { ...structuredClone(about.look), ...structuredClone(value) }, known = (name) => Boolean(this.find(name));
    look.windows = about.look.windows.map((window, i) => look.windows[i] ?? window);
    look.hidden = look.hidden.filter(known);
    if (look.hidden.length === about.panels.length) look.hidden = [];
    if (look.pair.length !== 2 || !look.pair.every(known)) look.pair = about.look.pair;
    if (!about.parts.includes(look.part)) look.part = about.parts[0];
    return look;
  }

  /** Changes of `place` or `look`, drawn at once, but once a frame, and told to the kernel a little later. */
  set(what, changes) {
    const next = { ...this[what], ...changes };
    if (same(next, this[what])) return;
    this[what] = next;
    this.model.set(what, structuredClone(next));
    this.tell();
    this.refresh();
  }

  tell() {
    this.telling ??= setTimeout(() => {
      this.telling = null;
      this.model.save_changes();
    }, TELL_MS);
  }

  get plane() { return this.planeOf(this.place.plane); }
  planeOf(name) { return this.about.planes.find((plane) => plane.name === name); }
  get index() { return this.place.at[this.plane.axis]; }
  get count() { return this.about.shape[this.plane.axis]; }
  get solid() { return this.about.shape.every((count) => count > 1); }
  get panels() { return this.about.panels.filter(({ name }) => !this.look.hidden.includes(name)); }

  go(index) {
    const at = [...this.place.at];
    at[this.plane.axis] = clamp(index, 0, this.count - 1);
    this.direction = Math.sign(at[this.plane.axis] - this.index) || this.direction;
    this.set("place", { at });
  }

  // What is needed --------------------------------------------------------------------------------------------------

  /** The keys of the cuts that `panel` is painted from. */
  keys(panel, plane, { at, data = this.about.data }) {
    const index = at[plane.axis], space = FOURIER.includes(this.look.part) && !panel.mask ? "fourier" : "image";
    if (panel.reason !== null) return [];
    const key = (name, kind) => JSON.stringify([name, plane.name, index, kind, data]);
    const keys = (panel.of ?? [panel.name]).map((name) => key(name, this.find(name)?.mask ? "image" : space));
    return panel.labeled && space === "image" ? [...keys, key(panel.name, "label")] : keys;
  }

  find(name) { return this.about.panels.find((panel) => panel.name === name); }

  /** The panels of a place: {panel, plane} each. */
  tilesOf(place) {
    const planes = place.together ? this.about.planes : [this.planeOf(place.plane)];
    const panels = this.panels.filter((panel) => !place.together || panel.reason === null);
    return panels.flatMap((panel) => planes.map((plane) => ({ panel, plane })));
  }

  needed(place) {
    const pair = this.look.mode ? this.look.pair.map((name) => this.find(name)).filter(Boolean) : [];
    const tiles = [...this.tilesOf(place), ...pair.map((panel) => ({ panel, plane: this.planeOf(place.plane) }))];
    return [...new Set(tiles.flatMap(({ panel, plane }) => this.keys(panel, plane, place)))];
  }

  ready(place) { return this.needed(place).every((key) => this.store.cuts.has(key)); }

  /** The place `by` slices further, if there is one. */
  along(by) {
    const index = this.index + by, { axis } = this.plane;
    return index >= 0 && index < this.count ? { ...this.place, at: this.place.at.with(axis, index) } : null;
  }

  /** Asks for what is seen, in few bits if it isn't here, then its neighbors, the way of travel first; for exact values where nothing moves. */
  request() {
    const list = (place, detail) => this.needed(place).map((key) => ({ key, detail }));
    const now = list(this.place, COARSE), room = this.store.room(now);
    const steps = (count, sign) => Array.from({ length: Math.min(count, room) }, (_, i) => this.along(sign * (i + 1)));
    const near = this.place.together ? [] : [...steps(this.ahead, this.direction), ...steps(Math.min(BEHIND, this.ahead), -this.direction)].filter(Boolean);
    const resting = this.resting ? list(this.place, EXACT).map((one) => [one]) : []; // one by one, as they are large
    this.store.pinned = new Set([...now, ...(this.shown ? list(this.shown, FINE) : [])].map(({ key }) => key));
    this.store.want([now, ...resting, ...near.map((place) => list(place, FINE))]);
  }

  // Painting --------------------------------------------------------------------------------------------------------

  /** Draws now, or with the next frame if it was just done. */
  refresh() {
    if (performance.now() - (this.drawn ?? 0) > FRAME_MS) this.draw();
    else this.redraw();
  }

  redraw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  draw() {
    this.drawn = performance.now();
    if (!this.about.panels) return this.say();
    this.blink();
    this.request();
    const { at, plane, together } = this.place, { part, signed, hidden } = this.look;
    const asked = JSON.stringify([at, plane, together, part, signed, hidden, this.about.version]);
    if (asked !== this.asked) {
      this.asked = asked;
      this.resting = false;
      [this.rest, this.idle].forEach(clearTimeout);
      this.rest = setTimeout(() => this.settle(), REST_MS);
      if (Math.abs(this.index - this.before) > 1) this.ahead = AFTER_A_JUMP; // another may follow
      this.idle = setTimeout(() => { this.ahead = AHEAD; this.request(); }, IDLE_MS);
      this.before = this.index;
    }
    const drawable = this.drawable();
    if (drawable) this.shown = { ...drawable, data: this.about.data };
    this.waiting = drawable !== this.place;
    this.parts.measured.classList.toggle("sv-old", this.parts.measured.dataset.of !== this.subject);
    this.layout();
    if (this.shown) this.tiles.forEach((tile) => this.drawTile(tile));
    this.say();
  }

  /** The place itself if its slices are here, else the nearest to it on the way from what is shown, if any. */
  drawable() {
    if (this.ready(this.place)) return this.place;
    const { axis } = this.plane, from = this.shown?.at[axis];
    if (!this.shown || this.shown.plane !== this.place.plane || this.shown.together !== this.place.together) return null;
    const sign = Math.sign(from - this.index);
    for (let index = this.index + sign, i = 0; sign && index !== from && i < 64; index += sign, i++) {
      const place = { ...this.place, at: this.place.at.with(axis, index) };
      if (this.ready(place)) return place;
    }
    return null;
  }

  /** Of what regions and profiles are measured. */
  get subject() {
    const { at, plane } = this.shown ?? this.place, { part, signed, hidden } = this.look;
    return JSON.stringify([at, plane, part, signed, hidden, this.about.data]);
  }

  settle() {
    this.resting = true;
    this.request();
    this.ask();
    this.measure();
  }

  ask() {
    if (!this.scores.has(this.place.at[0])) this.model.send({ kind: "scores", index: this.place.at[0] });
  }

  measure() {
    if (this.shapes.length) this.model.send({ kind: "measure", shapes: this.shapes, place: this.place, look: this.look, of: this.subject });
  }

  scale(panel) {
    const part = this.look.part, [low, high] = this.look.windows[panel.group] ?? [0, 1];
    if (panel.mask) return [0, 1];
    const top = Math.max(Math.abs(low), Math.abs(high));
    const range = LOGARITHMIC.includes(part) ? [LEAST_DB, 0] : part === "phase" ? [-Math.PI, Math.PI]
      : part === "real" || part === "imaginary" ? [-top, top] : [low, high];
    if (!panel.of) return range;
    const reach = (range[1] - range[0]) / this.look.gain;
    return [this.look.signed ? -reach : 0, reach];
  }

  colorsOf(panel) {
    if (panel.of) return this.tables[this.look.signed ? this.about.signed : this.about.error];
    if (panel.mask) return this.tables.gray;
    return this.tables[this.look.part === "phase" ? this.about.phase : this.look.cmap];
  }

  /** A panel painted at the data's resolution: {canvas, cuts, label, bad: pixels not finite}, or {reason}. */
  source(panel, plane) {
    if (panel.reason !== null) return { reason: panel.reason || " " };
    const cuts = this.keys(panel, plane, this.shown).map((key) => this.store.get(key));
    if (cuts.some((cut) => !cut)) return { reason: "" }; // on its way
    const scale = this.scale(panel), { part, cmap, signed, opacity, contours } = this.look;
    const signature = JSON.stringify([cuts.map((cut) => cut.number), scale, part, cmap, signed, opacity, contours, panel]);
    const old = this.sources.get(`${panel.name} ${plane.name}`);
    if (old?.signature === signature) return old;
    const made = { signature, cuts }, errors = panel.of && errorsOf(cuts[0], cuts[1], part, signed);
    const reason = errors ?? valuesOf(cuts[0], part, 0, 1);
    if (typeof reason === "string") made.reason = reason;
    else {
      const [height, width] = plane.size;
      const kept = old?.canvas?.width === width && old.canvas.height === height;
      made.canvas = kept ? old.canvas : element("canvas", { width, height });
      made.image = kept ? old.image : new ImageData(width, height);
      const pixels = new Uint32Array(made.image.data.buffer);
      const colors = [...scale, this.colorsOf(panel), packed(this.about.bad)];
      made.bad = errors ? paint(pixels, errors, ...colors) : paintCut(pixels, cuts[0], part, ...colors);
      made.label = panel.labeled && cuts.length > 1 ? numbers(cuts.at(-1)) : null;
      if (made.label) lay(pixels, made.label, width, this.look, this.about.palette, this.about.unlabeled, packed(this.about.gray));
      made.canvas.getContext("2d").putImageData(made.image, 0, 0);
    }
    this.sources.set(`${panel.name} ${plane.name}`, made);
    return made;
  }

  /** Where the image lies on a canvas: device pixels of its corner and of a pixel. */
  fit(tile) {
    const { canvas, plane } = tile, [height, width] = plane.size, [tall, wide] = plane.pixel;
    const { zoom, center } = this.place;
    const scale = Math.min(canvas.width / (width * wide), canvas.height / (height * tall)) * zoom;
    const [sx, sy] = [scale * wide, scale * tall];
    return { x: canvas.width / 2 - center[0] * width * sx, y: canvas.height / 2 - center[1] * height * sy, sx, sy };
  }

  drawTile(tile) {
    const { canvas, panel, plane } = tile, context = canvas.getContext("2d");
    const [first, second] = this.look.mode ? this.look.pair.map((name) => this.find(name)) : [];
    const paired = first && second && panel.name === first.name && plane.name === this.shown.plane;
    const swapped = paired && this.look.mode === "blink" && this.blinked;
    const seen = swapped ? second : panel, source = this.source(seen, plane);
    tile.seen = seen;
    tile.curtain = Boolean(paired && this.look.mode === "curtain");
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (source.canvas) {
      this.drawSource(tile, source);
      if (tile.curtain) {
        const other = this.source(second, plane), x = Math.round(this.look.curtain * canvas.width);
        if (other.canvas) {
          context.save();
          context.beginPath();
          context.rect(x, 0, canvas.width - x, canvas.height);
          context.clip();
          context.clearRect(x, 0, canvas.width - x, canvas.height);
          this.drawSource(tile, other);
          context.restore();
        }
      }
    }
    this.drawMarks(tile);
    if (this.shown.data === this.about.data) this.label(tile, seen, source, tile.curtain ? second : null);
  }

  drawSource(tile, { canvas }) {
    const { x, y, sx, sy } = this.fit(tile), context = tile.canvas.getContext("2d");
    context.imageSmoothingEnabled = this.look.smooth || Math.min(sx, sy) < 1;
    context.drawImage(canvas, x, y, canvas.width * sx, canvas.height * sy);
  }

  /** Cross, curtain, regions and the profile's line, on a canvas of their own. */
  drawMarks(tile) {
    const { marks, plane } = tile, context = marks.getContext("2d"), { x, y, sx, sy } = this.fit(tile);
    const ratio = devicePixelRatio || 1;
    const stroke = () => {
      tile.marked = true;
      context.lineWidth = 2.6 * ratio;
      context.strokeStyle = "rgba(0,0,0,.6)";
      context.stroke();
      context.lineWidth = ratio;
      context.strokeStyle = "#fff";
      context.stroke();
    };
    if (tile.marked) context.clearRect(0, 0, marks.width, marks.height);
    tile.marked = false;
    const cross = this.hover && (this.hover.tile !== tile || this.shown.together) ? this.pointed : this.shown.together ? this.shown.at : null;
    if (cross) {
      const [row, column] = pixelOf(plane, cross, this.about.shape);
      const [cx, cy] = [x + (column + 0.5) * sx, y + (row + 0.5) * sy], hole = 5 * ratio;
      context.beginPath();
      const [left, top] = [Math.max(0, x), Math.max(0, y)], [height, width] = plane.size;
      const [right, bottom] = [Math.min(marks.width, x + width * sx), Math.min(marks.height, y + height * sy)];
      for (const [x0, y0, x1, y1] of [[left, cy, cx - hole, cy], [cx + hole, cy, right, cy],
        [cx, top, cx, cy - hole], [cx, cy + hole, cx, bottom]]) {
        context.moveTo(x0, y0);
        context.lineTo(x1, y1);
      }
      stroke();
    }
    if (tile.curtain) {
      const at = Math.round(this.look.curtain * marks.width);
      context.beginPath();
      context.moveTo(at, 0);
      context.lineTo(at, marks.height);
      stroke();
    }
    context.font = `600 ${12 * ratio}px sans-serif`;
    for (const shape of [...this.shapes, ...(this.drawing ? [this.drawing] : [])]) {
      if (shape.plane !== plane.name) continue;
      const [x0, y0, x1, y1] = [x + shape.box[0] * sx, y + shape.box[1] * sy, x + shape.box[2] * sx, y + shape.box[3] * sy];
      context.beginPath();
      if (shape.kind === "rectangle") context.rect(x0, y0, x1 - x0, y1 - y0);
      else if (shape.kind === "ellipse") context.ellipse((x0 + x1) / 2, (y0 + y1) / 2, Math.abs(x1 - x0) / 2, Math.abs(y1 - y0) / 2, 0, 0, 7);
      else {
        context.moveTo(x0, y0);
        context.lineTo(x1, y1);
      }
      stroke();
      context.lineWidth = 3 * ratio;
      context.strokeStyle = "rgba(0,0,0,.6)";
      context.strokeText(shape.name ?? "", Math.min(x0, x1) + 4 * ratio, Math.min(y0, y1) + 14 * ratio);
      context.fillStyle = "#fff";
      context.fillText(shape.name ?? "", Math.min(x0, x1) + 4 * ratio, Math.min(y0, y1) + 14 * ratio);
    }
  }

  /** A panel's name, scores and the value under the cursor. */
  label(tile, seen, source, other) {
    put(tile.name, other ? `${this.nameOf(seen)} | ${this.nameOf(other)}` : this.nameOf(seen));
    const planes = this.shown.together ? [`${tile.plane.axis ? tile.plane.name : this.about.unit} ${this.shown.at[tile.plane.axis] + 1}`] : [];
    const scored = this.shown.plane === this.about.planes[0].name && this.look.part === this.about.parts[0] && !this.shown.together;
    const scores = scored ? this.scores.get(this.shown.at[0])?.[seen.name] : null;
    const windows = this.about.groupNames.length > 1 && !seen.of && !seen.mask && source.canvas ? [`window ${this.windowText(seen)}`] : [];
    const notes = [...planes, scores, seen.note, ...windows, source.bad ? `${source.bad} px not finite` : null];
    put(tile.note, notes.filter(Boolean).join(" · "));
    put(tile.reason, source.reason ? `n/a${source.reason.trim() && `: ${source.reason}`}` : "");
    const pointed = this.hover && source.canvas ? [seen, ...(other ? [other] : [])] : [];
    put(tile.value, pointed.map((panel) => this.valueText(panel, tile.plane)).join(" | "));
    const unit = this.numbered(this.shown);
    const spoken = [tile.name.textContent, unit, tile.note.textContent, tile.reason.textContent].filter(Boolean).join(", ");
    if (tile.canvas.ariaLabel !== spoken) tile.canvas.ariaLabel = spoken;
  }

  nameOf(panel) {
    if (!panel.of) return panel.name;
    const bars = this.look.part === "magnitude" ? panel.of.map((name) => `|${name}|`) : panel.of;
    const difference = bars.join(" −\u00a0");
    return `${this.look.signed ? difference : `|${difference}|`}\u00a0×${this.look.gain}`;
  }

  valueText(panel, plane) {
    const { cuts, label, canvas } = this.source(panel, plane), at = this.pointed, { part, signed } = this.look;
    if (!canvas || at[plane.axis] !== this.shown.at[plane.axis]) return "";
    const [row, column] = pixelOf(plane, at, this.about.shape), i = row * plane.size[1] + column;
    const [value] = panel.of ? errorsOf(cuts[0], cuts[1], part, signed, i, 1) : valuesOf(cuts[0], part, i, 1);
    return label ? `${written(value)} · ${this.className(label[i])}` : written(value);
  }

  className(number) {
    return number === this.about.unlabeled ? "not labeled" : (this.about.classes[number] ?? `class ${number}`);
  }

  unitOf(plane) { return plane.axis === 0 ? this.about.unit : this.about.unit === "frame" ? "line" : plane.name; }

  /** Such as "slice 10 of 20". */
  numbered(place) {
    const plane = this.planeOf(place.plane);
    return `${this.unitOf(plane)} ${place.at[plane.axis] + 1} of ${this.about.shape[plane.axis]}`;
  }

  windowText(panel) {
    const [low, high] = this.scale(panel), unit = this.look.part === "phase" ? " rad" : LOGARITHMIC.includes(this.look.part) ? " dB" : "";
    return `${written(low, high - low)} to ${written(high, high - low)}${unit}`;
  }

  /** The lines above and beneath the panels. */
  say() {
    const message = this.model.get("message");
    put(this.parts.message, message);
    this.parts.message.hidden = !message;
    this.parts.resample.hidden = !this.about.resample;
    this.parts.body.hidden = !this.about.panels;
    if (!this.about.panels) return;
    const windows = new Set(this.panels.filter((panel) => !panel.of && !panel.mask).map((panel) => this.windowText(panel)));
    const smoothing = this.look.smooth ? " · linear between pixels" : "", zoom = this.place.zoom > 1 ? ` · zoom ${this.place.zoom.toFixed(1)}×` : "";
    const seen = this.shown ?? this.place, text = this.count > 1 ? this.numbered(seen) : "";
    const title = this.about.title ? `${this.about.title}${text && ": "}` : "", part = this.look.part === this.about.parts[0] ? "" : ` · ${this.look.part}`;
    put(this.parts.caption, `${title}${text}${part}${title || text || part ? " · " : ""}window ${[...windows].join(" or ") || "–"}${zoom}${smoothing}`);
    put(this.parts.waiting, this.waiting ? `waiting for ${this.unitOf(this.plane)} ${this.index + 1} …` : "");
    put(this.parts.hover, this.hover ? this.hoverText() : "\u00a0");
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => {
      const scores = this.tiles.map(({ name, note }) => `${name.textContent} ${note.textContent}`.trim());
      this.parts.live.textContent = [text, ...scores].join("; ");
    }, 400);
    this.showControls();
  }

  hoverText() {
    const at = this.pointed, { affine, spacing } = this.about;
    const where = affine ? affine.slice(0, 3).map((row) => row[0] * at[0] + row[1] * at[1] + row[2] * at[2] + row[3])
      : spacing?.map((step, i) => step * at[i]);
    const mm = where ? ` · ${where.map((v) => v.toFixed(1)).join(", ")} mm${affine ? " to the right, front, top" : ""}` : "";
    return `voxel [${at.join(", ")}]${mm.replaceAll("-", "−")}`;
  }

  // Layout ----------------------------------------------------------------------------------------------------------

  layout() {
    const seen = this.shown ?? this.place, shape = [seen.plane, seen.together].join();
    if (shape !== this.seenShape) this.resized = true; // another aspect
    this.seenShape = shape;
    const wanted = this.tilesOf(seen), grid = this.parts.grid, full = document.fullscreenElement === this.root;
    const known = ({ panel, plane }, i) => panel.name === wanted[i]?.panel.name && plane.name === wanted[i]?.plane.name;
    if (this.tiles.length !== wanted.length || !this.tiles.every(known)) {
      this.tiles = wanted.map((one) => this.makeTile(one));
      grid.replaceChildren(...this.tiles.map((tile) => tile.figure));
      this.resized = true;
    }
    this.tiles.forEach((tile, i) => Object.assign(tile, wanted[i]));
    if (!this.resized) return; // reading a width makes the browser lay out the page
    const wide = grid.clientWidth, count = wanted.length;
    if (!wide || !count) return;
    this.resized = false;
    const aspect = Math[seen.together ? "min" : "max"](...wanted.map(({ plane }) => (plane.size[1] * plane.pixel[1]) / (plane.size[0] * plane.pixel[0])));
    const most = Math.max(1, Math.floor((wide + GAP) / (LEAST_WIDTH + GAP)));
    const columns = seen.together ? 3 : Math.ceil(count / Math.ceil(count / Math.min(most, count)));
    const cap = Math.max(LEAST_WIDTH, (full ? 0.8 : 0.72) * innerHeight);
    let width = Math.floor((wide - GAP * (columns - 1)) / columns), height = Math.round(width / aspect);
    if (height > cap) [width, height] = [Math.round(cap * aspect), Math.round(cap)];
    const ratio = devicePixelRatio || 1, size = [width, height, ratio, columns].join();
    if (this.tiles.every((tile) => tile.size === size)) return;
    grid.style.gridTemplateColumns = `repeat(${columns}, ${width}px)`;
    for (const tile of this.tiles) {
      tile.size = size;
      tile.stage.style.width = `${width}px`;
      tile.stage.style.height = `${height}px`;
      for (const canvas of [tile.canvas, tile.marks]) {
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(height * ratio);
      }
    }
  }

  makeTile({ panel, plane }) {
    const tile = { panel, plane };
    tile.name = element("b");
    tile.note = element("small", { className: "sv-note" });
    tile.value = element("small", { className: "sv-value" });
    tile.reason = element("div", { className: "sv-reason" });
    tile.canvas = element("canvas", { className: "sv-image", role: "img" });
    tile.marks = element("canvas", { className: "sv-marks", "aria-hidden": "true" });
    tile.stage = element("div", { className: "sv-stage" }, tile.canvas, tile.marks, tile.reason, tile.value);
    tile.figure = element("figure", { className: "sv-tile" }, element("figcaption", {}, tile.name, element("br"), tile.note), tile.stage);
    this.follow(tile);
    return tile;
  }

  // Mouse -----------------------------------------------------------------------------------------------------------

  /** The pixel (row, column, with fractions) of an event, and the voxel. */
  under(tile, event) {
    const box = tile.marks.getBoundingClientRect(), ratio = tile.marks.width / box.width, { x, y, sx, sy } = this.fit(tile);
    const [px, py] = [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
    const [column, row] = [(px - x) / sx, (py - y) / sy], [height, width] = tile.plane.size;
    const inside = row >= 0 && column >= 0 && row < height && column < width;
    const at = this.shown ? voxelOf(tile.plane, row, column, this.shown.at, this.about.shape) : this.place.at;
    return { row, column, inside, at, px, py };
  }

  follow(tile) {
    const marks = tile.marks;
    marks.addEventListener("pointerdown", (event) => this.press(tile, event));
    marks.addEventListener("pointermove", (event) => this.move(tile, event));
    for (const name of ["pointerup", "pointercancel"]) marks.addEventListener(name, (event) => this.release(tile, event));
    marks.addEventListener("pointerleave", () => this.point(null));
    marks.addEventListener("contextmenu", (event) => {
      event.preventDefault();
      event.stopPropagation();
    });
    marks.addEventListener("dblclick", () => this.reset());
    marks.addEventListener("wheel", (event) => this.roll(tile, event), { passive: false });
  }

  /** Two fingers zoom about the point between them; whether an event is of such. */
  pinch(tile, event) {
    if (event.pointerType !== "touch") return false;
    if (/up|cancel/.test(event.type)) this.fingers.delete(event.pointerId);
    else if (event.type === "pointerdown" || this.fingers.has(event.pointerId)) this.fingers.set(event.pointerId, event);
    const [a, b] = this.fingers.values(), apart = b && Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    const middle = b && { clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2 };
    if (apart && this.apart) this.zoom(apart / this.apart, tile, middle);
    if (b) this.drag = this.drawing = null;
    this.apart = apart;
    return Boolean(b);
  }

  press(tile, event) {
    this.root.focus({ preventScroll: true });
    tile.marks.setPointerCapture(event.pointerId);
    if (this.pinch(tile, event)) return;
    const start = this.under(tile, event), group = tile.seen?.group ?? 0;
    const kind = event.button === 2 || event.shiftKey ? "window" : this.tool !== "move" ? "shape" : tile.curtain ? "curtain" : "pan";
    this.drag = { kind, tile, start, x: event.clientX, y: event.clientY, window: this.look.windows[group], group, center: this.place.center, far: false };
    if (kind === "window") this.group = group;
  }

  move(tile, event) {
    if (this.pinch(tile, event)) return;
    const now = this.under(tile, event), drag = this.drag;
    this.point(now.inside ? { tile, row: now.row, column: now.column } : null);
    if (!event.buttons) this.drag = this.drawing = null; // let go where it wasn't seen
    if (!drag || !this.drag) return;
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    drag.far ||= Math.hypot(dx, dy) > 3;
    if (!drag.far) return;
    if (drag.kind === "window") {
      const [low, high] = drag.window, width = (high - low) * 2 ** (dx / 100), level = (low + high) / 2 - (dy * (high - low)) / 200;
      this.setWindow(drag.group, level - width / 2, level + width / 2);
    } else if (drag.kind === "curtain") this.set("look", { curtain: clamp(now.px / tile.marks.width, 0, 1) });
    else if (drag.kind === "shape") {
      const [height, width] = tile.plane.size;
      const box = [drag.start.column, drag.start.row, now.column, now.row].map((v, i) => clamp(v, 0, i % 2 ? height : width));
      this.drawing = { kind: this.tool, plane: tile.plane.name, box };
      this.redraw();
    } else if (this.place.zoom > 1) {
      const { sx, sy } = this.fit(tile), ratio = tile.marks.width / tile.marks.getBoundingClientRect().width, [height, width] = tile.plane.size;
      this.recenter([drag.center[0] - (dx * ratio) / (width * sx), drag.center[1] - (dy * ratio) / (height * sy)]);
    }
  }

  release(tile, event) {
    if (this.pinch(tile, event)) return;
    const drag = this.drag;
    this.drag = null;
    if (event.type === "pointercancel") this.drawing = null;
    if (this.drawing) {
      const [x0, y0, x1, y1] = this.drawing.box, line = this.drawing.kind === "profile";
      const box = line ? [x0, y0, x1, y1] : [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
      const used = this.shapes.map(({ name }) => name), letter = (n) => String.fromCharCode(65 + (n % 26)) + (n < 26 ? "" : Math.floor(n / 26) + 1);
      const name = used.concat("").map((_, n) => letter(n)).find((n) => !used.includes(n));
      const shape = { ...this.drawing, box, name: line ? "" : name };
      this.drawing = null;
      this.setShapes([...this.shapes.filter(({ kind }) => !line || kind !== "profile"), shape]);
    } else if (drag && !drag.far && drag.kind === "pan" && event.type === "pointerup") {
      const { inside, at } = this.under(tile, event);
      const { axis } = tile.plane;
      if (inside) this.set("place", { at: this.place.together ? at : at.with(axis, this.place.at[axis]) });
    }
  }

  point(hover) {
    this.hover = this.shown ? hover : null;
    this.redraw();
  }

  /** The voxel under the cursor, in what is shown now. */
  get pointed() {
    const { tile, row, column } = this.hover;
    return voxelOf(tile.plane, row, column, this.shown.at, this.about.shape);
  }

  /** Slices; with Ctrl or ⌘ (as a pinch comes, too) zoom about the cursor. A page that is being scrolled past goes on. */
  roll(tile, event) {
    const zooming = event.ctrlKey || event.metaKey;
    if (performance.now() - (this.scrolled ?? -1e9) < SCROLL_MS || (!zooming && this.count === 1)) return;
    event.preventDefault();
    event.stopPropagation();
    const distance = event.deltaY * (event.deltaMode === 1 ? 40 : 1);
    if (zooming) {
      this.zoom(2 ** (-distance / 200), tile, event);
      return;
    }
    this.rolled = Math.sign(this.rolled ?? 0) === Math.sign(distance) ? this.rolled + distance : distance;
    if (Math.abs(this.rolled) < 40) return;
    const axis = this.place.together ? tile.plane.axis : this.plane.axis, at = [...this.place.at];
    at[axis] = clamp(at[axis] + Math.sign(this.rolled), 0, this.about.shape[axis] - 1);
    this.direction = Math.sign(this.rolled);
    this.rolled = 0;
    this.set("place", { at });
  }

  zoom(factor, tile = this.tiles[0], event = null) {
    if (!tile) return;
    const zoom = clamp(this.place.zoom * factor, 1, MOST_ZOOM), share = this.place.zoom / zoom;
    const [height, width] = tile.plane.size, { center } = this.place;
    const { column, row } = event ? this.under(tile, event) : { column: center[0] * width, row: center[1] * height };
    this.recenter([column / width, row / height].map((v, i) => v + (center[i] - v) * share), zoom);
  }

  recenter(center, zoom = this.place.zoom) {
    const half = 0.5 / zoom;
    this.set("place", { zoom, center: center.map((v) => clamp(v, half, 1 - half)) });
  }

  /** Whether the part of the data has a window of its own. */
  get fixed() { return LOGARITHMIC.includes(this.look.part) || this.look.part === "phase"; }

  setWindow(group, low, high) {
    if (this.fixed || !(high > low) || !Number.isFinite(high - low)) return;
    this.set("look", { windows: this.look.windows.map((window, i) => (i === group ? [low, high] : window)) });
  }

  setShapes(shapes) {
    this.shapes = shapes;
    this.model.set("shapes", structuredClone(shapes));
    this.tell();
    this.measure();
    this.showMeasured();
    this.redraw();
  }

  reset() {
    this.set("place", { zoom: 1, center: [0.5, 0.5] });
    this.set("look", structuredClone(this.about.look));
  }

  // Keys ------------------------------------------------------------------------------------------------------------

  key(event) {
    const name = event.target.tagName, pressed = name === "BUTTON" && [" ", "Enter"].includes(event.key);
    if (!this.about.panels || ["INPUT", "SELECT"].includes(name) || pressed) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = Math.max(1, Math.round(this.count / 10)), window = this.look.windows[this.group];
    const widen = (factor, shift) => {
      const [low, high] = window, width = (high - low) * factor, level = (low + high) / 2 + shift * (high - low);
      this.setWindow(this.group, level - width / 2, level + width / 2);
    };
    const actions = {
      ArrowRight: () => this.go(this.index + 1), ArrowUp: () => this.go(this.index + 1),
      ArrowLeft: () => this.go(this.index - 1), ArrowDown: () => this.go(this.index - 1),
      PageUp: () => this.go(this.index + step), PageDown: () => this.go(this.index - step),
      Home: () => this.go(0), End: () => this.go(this.count - 1),
      "+": () => this.zoom(1.25), "=": () => this.zoom(1.25), "-": () => this.zoom(0.8), "−": () => this.zoom(0.8),
      0: () => this.reset(), "[": () => widen(0.9, 0), "]": () => widen(1 / 0.9, 0), "{": () => widen(1, -0.05), "}": () => widen(1, 0.05),
      b: () => this.mode("blink"), w: () => this.mode("curtain"), x: () => this.together(), f: () => this.fill(), " ": () => this.play(),
      Escape: () => this.mode(""),
    };
    const action = actions[event.key] ?? actions[event.key.toLowerCase()];
    if (action) action();
    else if (/^[1-9]$/.test(event.key)) this.hide(this.about.panels[event.key - 1]?.name);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  mode(mode) {
    this.set("look", { mode: this.look.mode === mode ? "" : mode });
  }

  /** Starts and stops blinking with the mode, whoever has set it. */
  blink() {
    const on = this.look.mode === "blink";
    if (on === Boolean(this.blinking)) return;
    clearInterval(this.blinking);
    this.blinked = false;
    this.blinking = on && setInterval(() => {
      this.blinked = !this.blinked;
      this.redraw();
    }, BLINK_MS);
  }

  together() { if (this.solid) this.set("place", { together: !this.place.together }); }

  fill() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.root.requestFullscreen?.().catch(() => {});
  }

  hide(name) {
    if (!name) return;
    const { hidden } = this.look, back = hidden.includes(name);
    if (back || this.panels.length > 1) this.set("look", { hidden: back ? hidden.filter((n) => n !== name) : [...hidden, name] });
  }

  play() {
    this.playing = !this.playing && this.count > 1;
    clearTimeout(this.player);
    const next = () => {
      if (!this.playing) return;
      if (!this.waiting) {
        this.direction = 1;
        this.set("place", { at: this.place.at.with(this.plane.axis, (this.index + 1) % this.count) });
      }
      this.player = setTimeout(next, 1000 / this.look.fps);
    };
    next();
    this.redraw();
  }

  // Controls --------------------------------------------------------------------------------------------------------

  build() {
    const parts = (this.parts = {});
    const div = (name, properties = {}) => (parts[name] = element("div", { className: `sv-${name}`, ...properties }));
    this.root.replaceChildren();
    this.root.classList.add("slice-viewer");
    this.root.tabIndex = 0;
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", "slice viewer");
    this.root.setAttribute("data-lm-suppress-shortcuts", "true"); // Lab's own keys stay out
    parts.resample = this.button("Resample to one grid", () => this.model.send({ kind: "resample" }));
    parts.body = element("div", {}, div("controls"), div("caption"), div("grid"), div("hover"), div("measured"));
    this.root.append(div("message", { role: "status" }), parts.resample, parts.body, div("live", { ariaLive: "polite" }));
    parts.waiting = element("span", { className: "sv-waiting" });
    this.fillControls();
  }

  button(text, call, title = "") {
    return element("button", { type: "button", textContent: text, title, onclick: () => { call(); this.redraw(); } });
  }

  toggle(text, on, call, title = "") {
    const button = this.button(text, call, title);
    this.ends.push(() => button.setAttribute("aria-pressed", on()));
    return button;
  }

  choice(text, options, value, call) {
    const list = element("select", { onchange: () => call(JSON.parse(list.value)) });
    let last = null;
    this.ends.push(() => {
      const all = options().map((option) => (Array.isArray(option) ? option : [String(option), option]));
      if (!same(all, last)) list.replaceChildren(...all.map(([name, v]) => element("option", { textContent: name, value: JSON.stringify(v) })));
      last = all;
      list.value = JSON.stringify(value());
    });
    return element("label", {}, `${text} `, list);
  }

  number(text, value, call, properties = {}) {
    const done = () => {
      if (box.value !== "") call(Number(box.value));
      box.value = Number(value().toPrecision(4));
    };
    const box = element("input", { type: "number", step: "any", onchange: done, onkeydown: ({ key }) => { if (key === "Enter") done(); }, ...properties });
    this.ends.push(() => { if (document.activeElement !== box) box.value = Number(value().toPrecision(4)); });
    return element("label", {}, `${text} `, box);
  }

  tick(text, on, call) {
    const box = element("input", { type: "checkbox", onchange: () => call(box.checked) });
    this.ends.push(() => { box.checked = on(); });
    return element("label", {}, box, ` ${text}`);
  }

  fillControls() {
    const { about, parts } = this;
    this.ends = [];
    this.controlled = null;
    this.slide = () => {};
    if (!about.panels) return;
    const slider = element("input", { type: "range", min: 0, className: "sv-slider", oninput: () => this.go(Number(slider.value)) });
    const at = element("span", { className: "sv-at" });
    this.slide = () => {
      slider.max = this.count - 1;
      slider.value = this.index;
      slider.hidden = at.hidden = this.count === 1;
      slider.setAttribute("aria-label", this.unitOf(this.plane));
      slider.setAttribute("aria-valuetext", this.numbered(this.place));
      put(at, this.numbered(this.shown ?? this.place));
    };
    const row = (...children) => element("div", { className: "sv-row" }, ...children.flat().filter(Boolean));
    const group = (label, ...children) => element("span", { className: "sv-group", role: "group", ariaLabel: label }, ...children);
    const { solid } = this, several = about.panels.length > 1;
    const images = about.panels.filter((panel) => !panel.reason), errors = about.panels.some((panel) => panel.of);
    const labels = about.panels.some((panel) => panel.labeled);
    const look = (key) => (value) => this.set("look", { [key]: value });
    const cases = about.cases.length > 1 && this.choice("case", () => about.cases, () => about.case, (name) => this.model.send({ kind: "case", name }));
    const planes = solid && group("plane", ...about.planes.map(({ name }) =>
      this.toggle(name, () => !this.place.together && this.place.plane === name, () => this.set("place", { plane: name, together: false }), `plane: ${name}`)),
      this.toggle("all three", () => this.place.together, () => this.together(), "the three planes through the cross (X)"));
    const pieces = group("show", ...about.parts.map((part) => this.toggle(part, () => this.look.part === part, () => look("part")(part), `show: ${part}`)));
    const playing = about.unit === "frame" && about.shape[0] > 1 && [
      this.toggle("play", () => Boolean(this.playing), () => this.play(), "Space"),
      this.number("frames/s", () => this.look.fps, (v) => v > 0 && look("fps")(Math.min(v, 60)), { min: 1, max: 60 })];
    const windowed = [0, 1].map((i) => this.number(["window", "to"][i], () => this.look.windows[this.group][i],
      (v) => this.setWindow(this.group, ...this.look.windows[this.group].with(i, v))));
    this.ends.push(() => windowed.forEach(({ control }) => { control.disabled = this.fixed; }));
    const which = about.groupNames.length > 1 && this.choice("of", () => about.groupNames.map((name, i) => [name, i]), () => this.group, (i) => { this.group = i; this.redraw(); });
    const names = () => images.map(({ name }) => name);
    const pair = [0, 1].map((i) => this.choice(["pair", "and"][i], names, () => this.look.pair[i], (v) => look("pair")(this.look.pair.with(i, v))));
    const tools = ["move", "rectangle", "ellipse", "profile"].map((tool) =>
      this.toggle(tool, () => this.tool === tool, () => { this.tool = tool; }, { profile: "draw a line: its values in every panel", move: "drag moves the zoomed image" }[tool] ?? `draw a region: its ${tool}'s mean, SD, SNR`));
    const clear = this.button("clear", () => this.setShapes([]), "take away regions and profile");
    const ranks = () => this.ranked();
    const jump = group("rank", this.choice("rank by", ranks, () => this.rank(), (v) => { this.ranking = v; }),
      ...["worst", "median", "best"].map((place) => this.button(place, () => this.rank() && this.model.send({ kind: "jump", by: this.rank(), place }), `go to the ${place} slice`)));
    this.ends.push(() => { jump.hidden = !ranks().length || about.shape[0] === 1; });
    const references = about.references.length > 1 && [
      this.choice("error of", () => [["each", ""], ...about.references], () => about.errorOf[0], (v) => this.model.send({ kind: "errors", of: v, against: about.errorOf[1] })),
      this.choice("against", () => about.references, () => about.errorOf[1], (v) => this.model.send({ kind: "errors", of: about.errorOf[0], against: v }))];
    const help = element("div", {}, element("div", { className: "sv-keys" }, ...HELP.flatMap(([keys, what]) => [element("b", {}, keys), element("span", {}, what)])));
    const more = element("div", {},
      row(windowed, which, errors && this.choice("error ×", () => about.gains, () => this.look.gain, look("gain")),
        errors && this.tick("with sign", () => this.look.signed, look("signed")), this.choice("colors", () => about.plain, () => this.look.cmap, look("cmap")),
        this.tick("smooth", () => this.look.smooth, look("smooth"))),
      row(labels && [this.number("label opacity", () => this.look.opacity, (v) => look("opacity")(clamp(v, 0, 1)), { min: 0, max: 1, step: 0.05 }),
        this.tick("contours only", () => this.look.contours, look("contours"))], references),
      row(several && [...pair, this.toggle("blink", () => this.look.mode === "blink", () => this.mode("blink"), "B"),
        this.toggle("curtain", () => this.look.mode === "curtain", () => this.mode("curtain"), "W")]),
      row(several && group("panels", "panels ", ...about.panels.map((panel) => this.tick(panel.name, () => !this.look.hidden.includes(panel.name), () => this.hide(panel.name))))),
      row(group("tools", ...tools, clear), jump));
    const opener = (text, what, box, title) => {
      this.ends.push(() => { box.hidden = this.open !== what; });
      return this.toggle(text, () => this.open === what, () => { this.open = this.open === what ? "" : what; }, title);
    };
    for (const drawer of [more, help]) drawer.className = "sv-drawer";
    const focused = parts.controls.contains(document.activeElement);
    parts.controls.replaceChildren(
      row(cases, slider, at, parts.waiting, playing),
      row(planes, pieces, opener("Adjust", "more", more, "window, colors, errors, panels, regions"),
        this.button("Reset", () => this.reset(), "window, zoom, colors and panels as at first (0)"),
        this.button("Save PNG", () => this.save(), "write what is seen as a picture"),
        this.button("Full screen", () => this.fill(), "F"), opener("?", "help", help, "keys and mouse")),
      more, help, this.legend());
    if (focused) this.root.focus({ preventScroll: true });
    this.showMeasured();
  }

  showControls() {
    const { look, group, open, tool, ranking, rankable, playing, place: { plane, together } } = this;
    const state = JSON.stringify([look, group, open, tool, ranking, rankable, Boolean(playing), plane, together, this.about.errorOf, this.about.case]);
    this.slide();
    if (state !== this.controlled) this.ends.forEach((show) => show());
    this.controlled = state;
  }

  legend() {
    const { classes, palette, unlabeled } = this.about, line = element("div", { className: "sv-legend" });
    if (!this.about.panels.some((panel) => panel.labeled)) return line;
    const key = (rgb, sign, name) => element("span", {}, element("span", { textContent: sign, style: `color: rgb(${rgb})` }), ` ${name}`);
    line.append(...classes.slice(1).map((name, i) => key(palette[i % palette.length], "■", name)));
    if (unlabeled !== null) line.append(key(this.about.gray, "▨", "not labeled"));
    return line;
  }

  ranked() {
    return Object.entries(this.rankable).flatMap(([panel, metrics]) => metrics.map((metric) => [`${panel}: ${metric}`, [panel, metric]]));
  }

  rank() {
    const all = this.ranked().map(([, value]) => value), of = this.about.panels.filter((panel) => panel.of).map((panel) => panel.of[0]);
    return all.find((value) => same(value, this.ranking)) ?? all.find(([panel]) => of.includes(panel)) ?? all.at(0) ?? null;
  }

  /** The regions' table and the profile's curves. */
  showMeasured() {
    const { columns, rows, profile } = this.model.get("measured"), box = this.parts.measured;
    box.dataset.of = this.model.get("measured").of ?? "";
    box.replaceChildren();
    if (!this.shapes.length) return;
    if (rows?.length) {
      const cell = (value) => element("td", { textContent: typeof value === "number" ? written(value) : (value ?? "–") });
      const table = element("table", {}, element("tr", {}, ...columns.map((name) => element("th", { textContent: name }))),
        ...rows.map((values) => element("tr", {}, ...values.map(cell))));
      const regions = this.shapes.filter(({ kind }) => kind !== "profile");
      const background = element("select", { onchange: () => this.setShapes(this.shapes.map((s) => ({ ...s, background: s.name !== "" && s.name === background.value }))) },
        element("option", { textContent: "none", value: "" }), ...regions.map(({ name }) => element("option", { textContent: name, value: name })));
      background.value = regions.find((shape) => shape.background)?.name ?? "";
      const copy = this.button("Copy table", () => navigator.clipboard?.writeText([columns, ...rows].map((line) => line.join("\t")).join("\n")), "as text with tabs");
      box.append(element("div", { className: "sv-row" }, element("label", {}, "noise is taken from region ", background), copy), table);
    }
    if (profile?.lines) box.append(this.chart(profile));
  }

  chart({ lines, length, unit }) {
    const ratio = devicePixelRatio || 1, [width, height, left, bottom, top] = [720, 240, 70, 34, 10];
    const canvas = element("canvas", { className: "sv-profile", width: width * ratio, height: height * ratio, role: "img", ariaLabel: `values along the line, 0 to ${written(length)} ${unit}` });
    const context = canvas.getContext("2d"), ink = getComputedStyle(this.root).color, values = Object.values(lines).flat().filter(Number.isFinite);
    let [low, high] = [Math.min(...values), Math.max(...values)];
    if (!(high > low)) [low, high] = [low - 1, high + 1];
    const x = (share) => left + share * (width - left - 10), y = (value) => height - bottom - ((value - low) / (high - low)) * (height - bottom - top);
    canvas.style.width = `${width}px`;
    context.scale(ratio, ratio);
    context.strokeStyle = context.fillStyle = ink;
    context.font = "12px sans-serif";
    context.strokeRect(left, top, width - left - 10, height - bottom - top);
    context.textAlign = "right";
    for (const value of [low, (low + high) / 2, high]) context.fillText(written(value, high - low), left - 6, y(value) + 4);
    context.textAlign = "center";
    for (const share of [0, 0.5, 1]) context.fillText(`${written(share * length)}${share === 1 ? ` ${unit}` : ""}`, x(share) - 20 * share, height - bottom + 16);
    const legend = element("div", { className: "sv-legend" });
    Object.entries(lines).forEach(([name, line], i) => {
      const color = `rgb(${this.about.palette[i % this.about.palette.length]})`;
      context.beginPath();
      context.strokeStyle = color;
      context.lineWidth = 2;
      context.setLineDash(DASHES[i % DASHES.length]);
      line.forEach((value, k) => {
        const step = Number.isFinite(line[k - 1]) ? "lineTo" : "moveTo"; // a gap stays one
        if (Number.isFinite(value)) context[step](x(k / Math.max(1, line.length - 1)), y(value));
      });
      context.stroke();
      legend.append(element("span", {}, element("span", { className: "sv-line", style: `border-top: 3px ${i % DASHES.length ? "dashed" : "solid"} ${color}` }), ` ${name}`));
    });
    return element("div", {}, canvas, legend);
  }

  /** What is seen, with its labels, at the data's resolution or larger, is sent to the kernel as a PNG. */
  async save() {
    this.draw();
    if (!this.shown) return;
    const { plane, at } = this.shown, words = [plane, this.look.part, at[this.planeOf(plane).axis]];
    const tiles = this.tiles, ratio = devicePixelRatio || 1;
    const coarse = Math.max(1, ...tiles.map((tile) => { const { sx, sy } = this.fit(tile); return 1 / Math.min(sx, sy); }));
    const box = this.parts.grid.getBoundingClientRect(), head = 26, area = box.width * (box.height + head);
    const scale = Math.min(8, ratio * Math.ceil(coarse), Math.sqrt(MOST_SAVED / area), 16000 / (box.height + head));
    const canvas = element("canvas", { width: Math.ceil(box.width * scale), height: Math.ceil((box.height + head) * scale) }), context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.fillStyle = "#000";
    context.font = `${14 * scale}px sans-serif`;
    context.fillText(this.parts.caption.textContent, 4 * scale, 18 * scale);
    context.textAlign = "center";
    for (const tile of tiles) {
      const stage = tile.stage.getBoundingClientRect(), [x, y] = [(stage.left - box.left) * scale, (stage.top - box.top + head) * scale];
      const old = [tile.canvas, tile.marks];
      [tile.canvas, tile.marks] = old.map(() => element("canvas", { width: Math.round(stage.width * scale), height: Math.round(stage.height * scale) }));
      this.drawTile(tile);
      context.drawImage(tile.canvas, x, y);
      context.drawImage(tile.marks, x, y);
      [tile.canvas, tile.marks] = old;
      const lines = [[600, 13, tile.name], [400, 11, tile.note], [400, 12, tile.reason]];
      lines.forEach(([weight, size, { textContent }], i) => {
        context.font = `${weight} ${size * scale}px sans-serif`;
        context.fillText(textContent, x + (stage.width * scale) / 2, i < 2 ? y - (40 - 16 * i) * scale : y + 40 * scale, stage.width * scale);
      });
    }
    const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
    this.model.send({ kind: "save", words }, undefined, [await blob.arrayBuffer()]);
    this.draw();
  }

  // Events ----------------------------------------------------------------------------------------------------------

  listen() {
    const model = this.model, events = {
      "change:about": () => this.renew(),
            "change:place": () => this.given("place"), "change:look": () => this.given("look"),
      "change:shapes": () => {
        if (same(model.get("shapes"), this.shapes)) return;
        this.shapes = structuredClone(model.get("shapes"));
        this.measure();
        this.showMeasured();
        this.redraw();
      },
      "change:measured": () => this.showMeasured(), "change:message": () => this.say(),
      "msg:custom": (message, buffers) => {
        if (message.kind === "cuts") this.store.receive(message, buffers);
        if (message.kind === "scores" && message.version === this.about.version) {
          this.scores.set(message.index, message.notes);
          if (Object.keys(message.metrics).length) this.rankable = message.metrics;
          this.redraw();
        }
      },
    };
    for (const [name, call] of Object.entries(events)) model.on(name, call);
    const scrolled = (event) => { if (!this.root.contains(event.target)) this.scrolled = performance.now(); };
    const key = (event) => this.key(event);
    addEventListener("wheel", scrolled, { capture: true, passive: true });
    this.root.addEventListener("keydown", key);
    const watch = new ResizeObserver(() => {
      this.resized = true;
      this.redraw();
    });
    watch.observe(this.root);
    this.end = () => {
      for (const [name, call] of Object.entries(events)) model.off(name, call);
      removeEventListener("wheel", scrolled, { capture: true });
      watch.disconnect();
      this.playing = false;
      if (this.telling) model.save_changes();
      [this.telling, this.rest, this.idle, this.player, this.speaking].forEach(clearTimeout);
      this.root.removeEventListener("keydown", key);
      clearInterval(this.blinking);
      cancelAnimationFrame(this.frame);
    };
  }

  /** Another description: of other data, or of other errors of the same. */
  renew() {
    const before = this.identity, { about } = this;
    this.read();
    this.scores.clear();
    this.rankable = {};
    if (this.about.data !== about.data && this.identity !== before) { // nothing of another case may stay
      this.tiles = [];
      this.parts.grid.replaceChildren();
      this.sources.clear();
      this.shown = this.hover = this.drag = null;
    }
    const outline = ({ panels, ...rest }) => JSON.stringify([{ ...rest, version: 0, data: 0, look: 0 }, panels?.map(({ name, reason }) => [name, reason === null])]);
    if (outline(this.about) !== outline(about)) {
      this.group = Math.min(this.group, (this.about.groupNames?.length ?? 1) - 1);
      this.fillControls();
    }
    this.asked = null;
    this.draw();
  }

  /** What the kernel or a linked viewer has set. */
  given(what) {
    const value = this.fitted(what);
    if (same(value, this[what])) return;
    this[what] = value;
    this.redraw();
  }
}

/** Row and column of a voxel in a plane, and back; a flipped plane has its last row on top. */
function pixelOf(plane, at, shape) {
  const row = at[plane.rows];
  return [plane.flip ? shape[plane.rows] - 1 - row : row, at[plane.columns]];
}

function voxelOf(plane, row, column, at, shape) {
  const voxel = [...at], [height, width] = plane.size, r = clamp(Math.floor(row), 0, height - 1);
  voxel[plane.rows] = plane.flip ? shape[plane.rows] - 1 - r : r;
  voxel[plane.columns] = clamp(Math.floor(column), 0, width - 1);
  return voxel;
}

export default {
  render({ model, el }) {
    const viewer = new Viewer(model, el);
    return () => viewer.end();
  },
};

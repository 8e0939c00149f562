// The page: what is chosen, what becomes of the weight, and the address that says so.

import { jaxsparse, optax, torch, written } from "./lines.js";
import { CONVENTIONS, FORMS, RANGES, RULES, firstBelow, normal, path } from "./recursions.js";
import { stepsTo } from "./theory.js";

const THRESHOLD = 1e-3;
const DIVERGED = 1e100;
const PINS = 2;
const FLOORS = [1e-4, 1e-6, 1e-9, 1e-12, 1e-20, 1e-40, 1e-100, 1e-300];
const LETTERS = ["now", "A", "B"];
const DASHES = ["", "8 4", "2.5 3"];

const TITLES = {
  learning_rate: "learning rate",
  strength: "strength of the decay",
  eps: "epsilon (eps)",
  momentum: "momentum",
  b1: "b1",
  b2: "b2",
  decay: "decay of the mean square",
  rho: "rho",
  initial_accumulator_value: "sum of squares at the start",
  init: "weight at the start",
  noise: "deviation of the gradient's noise",
  steps: "steps",
  seed: "seed of the noise",
};

// Settings

function setting(optimizer, convention, more = {}) {
  const { learning_rate, defaults } = RULES[optimizer];
  const fixed = { optimizer, convention, form: "l2", strength: 1e-4, init: 1, noise: 0, seed: 0 };
  return { ...fixed, learning_rate, ...more, hyper: { ...defaults[convention], ...more.hyper } };
}

const FIRST = {
  current: setting("adam", "torch", { hyper: { b2: 0.99 } }),
  pinned: [setting("sgd", "torch", { hyper: { momentum: 0.9 } }), setting("amsgrad", "torch", { hyper: { b2: 0.99 } })],
  steps: 1e5,
  logx: true,
  logy: true,
  floor: 1e-12,
};

/** Another rule or convention: what was not at its default stays. */
function changed(old, optimizer, convention) {
  const { learning_rate, defaults } = RULES[optimizer];
  const before = RULES[old.optimizer];
  const stays = Object.entries(old.hyper).filter(
    ([name, value]) => name in defaults[convention] && value !== before.defaults[old.convention][name],
  );
  return {
    ...old,
    optimizer,
    convention,
    learning_rate: old.learning_rate === before.learning_rate ? learning_rate : old.learning_rate,
    hyper: { ...defaults[convention], ...Object.fromEntries(stays) },
  };
}

/** What is wrong with a number; nothing for one that is allowed. */
function problem(name, value, form) {
  if (!Number.isFinite(value)) return "a number, such as 1e-3";
  if (RANGES[name]?.fraction || (name === "strength" && form === "wd")) {
    return value >= 0 && value < 1 ? "" : "in [0, 1)";
  }
  if (name === "steps") return Number.isInteger(value) && value >= 1 && value <= 1e6 ? "" : "a whole number, 1 to 1e6";
  if (name === "seed") return Number.isInteger(value) && value >= 0 && value < 2 ** 31 ? "" : "a whole number >= 0";
  if (name === "learning_rate" || name === "init") return value > 0 ? "" : "above 0";
  return value >= 0 ? "" : "0 or above";
}

// The address: a setting is its rule, convention and form, and what differs from the defaults

function encoded(given) {
  const plain = setting(given.optimizer, given.convention);
  const told = new URLSearchParams({ optimizer: given.optimizer, convention: given.convention, form: given.form });
  for (const name of ["learning_rate", "strength", "init", "noise", "seed"]) {
    if (given[name] !== plain[name]) told.set(name, written(given[name]));
  }
  for (const [name, value] of Object.entries(given.hyper)) {
    if (value !== plain.hyper[name]) told.set(name, written(Number(value)));
  }
  return told;
}

function decoded(told) {
  const known = (name, allowed) => (allowed.includes(told.get(name)) ? told.get(name) : allowed[0]);
  const form = known("form", Object.keys(FORMS));
  const found = setting(known("optimizer", Object.keys(RULES)), known("convention", CONVENTIONS), { form });
  for (const holder of [found, found.hyper]) {
    for (const [name, value] of Object.entries(holder)) {
      const number = told.has(name) ? Number(told.get(name)) : NaN;
      if (typeof value === "boolean") holder[name] = number === 1;
      else if (typeof value === "number" && !problem(name, number, form)) holder[name] = number;
    }
  }
  return found;
}

function address({ current, pinned, steps, logx, logy, floor }) {
  const told = encoded(current);
  told.set("steps", written(steps));
  told.set("axes", `${logx ? "log" : "linear"} ${logy ? "log" : "linear"} ${written(floor)}`);
  for (const pin of pinned) told.append("pin", encoded(pin));
  return `#${told}`;
}

function fromAddress(hash) {
  if (hash.length < 2) return structuredClone(FIRST);
  const told = new URLSearchParams(hash.slice(1));
  const [x, y, floor] = (told.get("axes") ?? "log log").split(" ");
  const steps = Number(told.get("steps") ?? NaN);
  return {
    current: decoded(told),
    pinned: told.getAll("pin").slice(0, PINS).map((pin) => decoded(new URLSearchParams(pin))),
    steps: problem("steps", steps) ? FIRST.steps : steps,
    logx: x !== "linear",
    logy: y !== "linear",
    floor: FLOORS.includes(Number(floor)) ? Number(floor) : FIRST.floor,
  };
}

let state = fromAddress(location.hash);

// Elements

const $ = (selector) => document.querySelector(selector);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Controls

/** The values of a slider: six in a decade, for a fraction those of its distance to 1. */
function notches({ low, high, zero, fraction }) {
  const [from, to] = fraction ? [1 - high, 1] : [low, high];
  const values = zero || fraction ? [0] : [];
  const exponents = Array.from({ length: 19 }, (_, index) => index - 12);
  const all = exponents.flatMap((exponent) => [1, 1.5, 2, 3, 5, 7].map((digit) => Number(`${digit}e${exponent}`)));
  const inside = all.filter((value) => value >= from * (1 - 1e-9) && value <= to && !(fraction && value === 1));
  if (fraction) return [...values, ...inside.reverse().map((distance) => Number((1 - distance).toPrecision(12)))];
  return [...values, ...inside];
}

const NOTCHES = Object.fromEntries(Object.entries(RANGES).map(([name, range]) => [name, notches(range)]));

function nearest(values, value) {
  const after = values.findIndex((notch) => notch >= value);
  if (after <= 0) return after < 0 ? values.length - 1 : 0;
  return values[after] - value < value - values[after - 1] ? after : after - 1;
}

function choice(title, id, options, value, choose) {
  const select = element("select", { id }, ...Object.entries(options).map(([key, label]) => new Option(label, key)));
  select.value = value;
  select.addEventListener("change", () => choose(select.value));
  return element("div", { class: "choice" }, element("label", { for: id }, title), select);
}

function number(name, value, set) {
  const field = element("input", { id: name, autocomplete: "off", "aria-describedby": `${name}-problem` });
  field.value = written(value);
  const told = element("span", { id: `${name}-problem`, class: "problem", role: "alert" });
  const holder = element("div", { class: "number" }, element("label", { for: name }, TITLES[name]), field, told);
  const valid = (given) => {
    const wrong = problem(name, given, state.current.form);
    field.setAttribute("aria-invalid", String(wrong !== ""));
    told.textContent = wrong;
    if (!wrong) set(given);
    return !wrong;
  };
  const values = NOTCHES[name];
  if (!values) {
    field.addEventListener("input", () => valid(field.value.trim() === "" ? NaN : Number(field.value)));
    return holder;
  }
  const slider = element("input", { type: "range", min: 0, max: values.length - 1, "aria-label": TITLES[name] });
  const place = (given) => {
    slider.value = nearest(values, given);
    slider.setAttribute("aria-valuetext", written(given));
  };
  place(value);
  field.addEventListener("input", () => {
    const given = field.value.trim() === "" ? NaN : Number(field.value);
    if (valid(given)) place(given);
  });
  slider.addEventListener("input", () => {
    const given = values[slider.valueAsNumber];
    field.value = written(given);
    slider.setAttribute("aria-valuetext", field.value);
    valid(given);
  });
  holder.append(slider);
  return holder;
}

function truth(name, title, value, set) {
  const box = element("input", { type: "checkbox", id: name });
  box.checked = value;
  box.addEventListener("change", () => set(box.checked));
  return element("label", {}, box, ` ${title}`);
}

/** Made anew whenever the rule, convention or form is another one, as other numbers belong to it. */
function showControls() {
  const { current } = state;
  const labels = Object.fromEntries(Object.entries(RULES).map(([name, { label }]) => [name, label]));
  const conventions = Object.fromEntries(CONVENTIONS.map((name) => [name, name]));
  const forms = Object.fromEntries(Object.entries(FORMS).map(([name, label]) => [name, `${label} (${name})`]));
  const focused = document.activeElement?.id;
  const replace = (replacement) => {
    state.current = replacement;
    showControls();
    show();
  };
  const own = (name) => number(name, current[name], (value) => edit(state.current, name, value));
  const hyper = Object.entries(current.hyper).map(([name, value]) => {
    const set = (given) => edit(state.current.hyper, name, given);
    return typeof value === "boolean" ? truth(name, "Nesterov's momentum", value, set) : number(name, value, set);
  });
  $("#controls").replaceChildren(
    choice("optimizer", "optimizer", labels, current.optimizer, (name) =>
      replace(changed(current, name, current.convention)),
    ),
    choice("convention", "convention", conventions, current.convention, (name) =>
      replace(changed(current, current.optimizer, name)),
    ),
    choice("decay", "form", forms, current.form, (form) => {
      const strength = form === "wd" ? Math.min(current.strength, RANGES.strength.high) : current.strength;
      replace({ ...current, form, strength });
    }),
    own("learning_rate"),
    own("strength"),
    ...hyper,
    own("init"),
    own("noise"),
    own("seed"),
    number("steps", state.steps, (steps) => edit(state, "steps", steps)),
  );
  if (focused) document.getElementById(focused)?.focus();
}

function edit(holder, name, value) {
  holder[name] = value;
  show();
}

// Curves

const kept = new Map();

/** The weight's path and what is said of it; those that are shown are kept. */
function curve(given, steps) {
  const key = JSON.stringify([given, steps]);
  if (!kept.has(key)) {
    const draw = normal(given.seed);
    const weights = path(given, steps, given.noise > 0 ? () => given.noise * draw() : undefined);
    const tail = weights.subarray(Math.floor(0.9 * steps));
    const last = tail.reduce((most, weight) => Math.max(most, Math.abs(weight)), 0);
    const largest = weights.reduce((most, weight) => (Math.abs(weight) > most ? Math.abs(weight) : most), 0);
    kept.set(key, { key, weights, below: firstBelow(weights, THRESHOLD), last, largest });
  }
  return kept.get(key);
}

const ink = ({ optimizer }) => (optimizer === "sgd" ? "var(--ink)" : RULES[optimizer].color);

const counted = (steps) => steps.toLocaleString("en");

function measured({ below, last, largest }) {
  if (Number.isFinite(below)) return counted(below);
  if (Number.isFinite(last)) return `not in ${counted(state.steps)} steps`;
  return largest > DIVERGED ? "never: diverges" : "never: 0/0";
}

function predicted(given, { last, largest }) {
  if (given.noise > 0) return "not with noise";
  if (Number.isNaN(last) && largest <= DIVERGED) return "not with 0/0";
  const steps = stepsTo(THRESHOLD, given);
  if (Number.isNaN(steps)) return "no closed form";
  return steps === Infinity ? "never" : counted(steps);
}

/** Below 1e-300 the processors' and libraries' ways with denormals differ. */
function level(size) {
  if (!Number.isFinite(size)) return "not a number";
  return size > 0 && size < 1e-300 ? "< 1e-300" : written(Number(size.toPrecision(2)));
}

function described(given) {
  const { defaults } = RULES[given.optimizer];
  const hyper = Object.entries(given.hyper)
    .filter(([name, value]) => value !== defaults[given.convention][name])
    .map(([name, value]) => (value === true ? name : `${name} ${written(value)}`));
  const more = [
    ...hyper,
    ...(given.init === 1 ? [] : [`from ${written(given.init)}`]),
    ...(given.noise > 0 ? [`noise ${written(given.noise)}`] : []),
  ];
  const decay = `${FORMS[given.form]} ${written(given.strength)}`;
  return [given.convention, decay, `rate ${written(given.learning_rate)}`, ...more].join(", ");
}

function card(given, found, index) {
  const swatch = drawn("svg", { width: 34, height: 12, "aria-hidden": "true" }, line(given, index, "M0 6H34"));
  const full = state.pinned.length === PINS;
  const button = index
    ? element("button", { type: "button", id: `unpin-${index}` }, `Unpin ${LETTERS[index]}`)
    : element("button", { type: "button", id: "pin" }, full ? "Two are pinned" : "Pin to compare");
  button.disabled = index === 0 && full;
  button.addEventListener("click", () => {
    if (index) state.pinned.splice(index - 1, 1);
    else state.pinned.push(structuredClone(given));
    show();
  });
  const said = element("dl");
  const rows = {
    [`|w| < ${written(THRESHOLD)} at step`]: measured(found),
    "by theory": predicted(given, found),
    "largest |w|, last tenth": level(found.last),
  };
  for (const [name, value] of Object.entries(rows)) {
    said.append(element("dt", {}, name), element("dd", {}, value));
  }
  return element(
    "article",
    { class: "curve" },
    element("h2", {}, swatch, `${RULES[given.optimizer].label} (${LETTERS[index]})`),
    element("p", { class: "setting" }, described(given)),
    said,
    button,
  );
}

function showCurves(curves) {
  const focused = $("#curves").contains(document.activeElement) && document.activeElement.id;
  $("#curves").replaceChildren(...curves.map(({ given, found }, index) => card(given, found, index)));
  if (!focused) return;
  const button = document.getElementById(focused);
  (button?.disabled === false ? button : $("#curves button:enabled")).focus();
}

function line(given, index, d) {
  return drawn("path", {
    class: "line",
    d,
    style: `stroke: ${ink(given)}`,
    "stroke-width": index ? 2.5 : 3,
    "stroke-dasharray": DASHES[index],
  });
}

// Chart

/** A scale from values to pixels, with ticks. */
function logarithmic(low, high, from, to, most) {
  const [first, last] = [Math.log10(low), Math.log10(high)];
  const every = Math.max(1, Math.ceil((last - first) / most));
  const ticks = [];
  for (let power = Math.ceil(last - 1e-9); power >= first - 1e-9; power--) {
    if (power <= last + 1e-9 && power % every === 0) ticks.push(Number(`1e${power}`));
  }
  const at = (value) => from + ((to - from) * (Math.log10(Math.max(value, low / 10)) - first)) / (last - first);
  return { at, ticks };
}

function linear(low, high, from, to, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((digit) => digit * power >= rough);
  const count = Math.floor(high / step + 1e-9);
  const ticks = Array.from({ length: count + 1 }, (_, index) => Number((index * step).toPrecision(12)));
  return { at: (value) => from + ((to - from) * (value - low)) / (high - low), ticks };
}

/** Of all steps that share a pixel's column: the first, the extremes and the last, so that no oscillation is lost. */
function traced(weights, x, y, first) {
  const points = [];
  let column = null;
  const finish = () => {
    if (!column) return;
    const { first, low, high, last } = column;
    points.push(...new Set([first, Math.min(low, high), Math.max(low, high), last]));
  };
  for (let step = first; step < weights.length && Number.isFinite(weights[step]); step++) {
    const pixel = Math.round(x.at(step));
    const size = Math.abs(weights[step]);
    if (column?.pixel !== pixel) {
      finish();
      column = { pixel, first: step, low: step, high: step, last: step };
    }
    if (size < Math.abs(weights[column.low])) column.low = step;
    if (size > Math.abs(weights[column.high])) column.high = step;
    column.last = step;
  }
  finish();
  return `M${points.map((step) => `${x.at(step).toFixed(1)} ${y.at(Math.abs(weights[step])).toFixed(1)}`).join("L")}`;
}

function showChart(curves) {
  const svg = $("#chart");
  const width = svg.clientWidth;
  const height = Math.round(Math.min(460, Math.max(250, width * 0.5)));
  const [left, right, top, bottom] = [70, 30, 12, 42];
  const most = (of) => Math.max(...curves.map(of));
  const largest = Math.min(most(({ found }) => found.largest), 1000 * most(({ given }) => given.init));
  const first = state.logx ? 1 : 0;
  const [xScale, yScale] = [state.logx ? logarithmic : linear, state.logy ? logarithmic : linear];
  const x = xScale(first, Math.max(state.steps, 2), left, width - right, Math.max(3, width / 110));
  const bounds = state.logy ? [Math.min(state.floor, largest / 10), largest * 1.5] : [0, largest * 1.05];
  const y = yScale(...bounds, height - bottom, top, height / 45);

  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.style.height = `${height}px`;
  const said = curves.map(({ given, found }) => `${RULES[given.optimizer].label}: ${measured(found)}`).join("; ");
  const parts = [
    drawn("title", { id: "chart-title" }, `|w| over steps; first step below ${written(THRESHOLD)}: ${said}`),
    drawn("clipPath", { id: "inside" }, drawn("rect", { x: left, y: 0, width: width - left, height: height - bottom })),
  ];
  for (const tick of x.ticks) {
    const at = x.at(tick);
    parts.push(drawn("path", { class: "grid", d: `M${at} ${top}V${height - bottom}` }));
    parts.push(drawn("text", { x: at, y: height - bottom + 16, "text-anchor": "middle" }, counted(tick)));
  }
  for (const tick of y.ticks) {
    const at = y.at(tick);
    parts.push(drawn("path", { class: "grid", d: `M${left} ${at}H${width - right}` }));
    parts.push(drawn("text", { x: left - 8, y: at + 4, "text-anchor": "end" }, written(tick)));
  }
  const middle = (top + height - bottom) / 2;
  parts.push(drawn("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, "step"));
  parts.push(drawn("text", { transform: `translate(13 ${middle}) rotate(-90)`, "text-anchor": "middle" }, "|w|"));
  const threshold = y.at(THRESHOLD);
  if (threshold > top && threshold <= height - bottom) {
    parts.push(drawn("path", { class: "threshold", d: `M${left} ${threshold}H${width - right}` }));
    const aside = state.logy ? { x: left + 6 } : { x: width - right - 6, "text-anchor": "end" };
    const name = { class: "threshold-name", y: threshold - 6, ...aside };
    parts.push(drawn("text", name, `${written(THRESHOLD)}: counts as dead`));
  }
  const paths = drawn("g", { "clip-path": "url(#inside)" });
  for (const [index, { given, found }] of [...curves.entries()].reverse()) {
    paths.append(line(given, index, traced(found.weights, x, y, first)));
  }
  parts.push(paths);
  for (const { given, found } of curves) {
    if (found.below < first || !Number.isFinite(found.below)) continue;
    const place = { cx: x.at(found.below), cy: threshold, r: 4.5, style: `stroke: ${ink(given)}` };
    parts.push(drawn("circle", { class: "death", ...place }));
  }
  svg.replaceChildren(...parts);
}

function showCode() {
  const rows = {
    jaxsparse: jaxsparse(state.current),
    PyTorch: torch(state.current) ?? "torch.optim has no such form",
    optax: optax(state.current) ?? "optax has no such form",
  };
  $("#code dl").replaceChildren(
    ...Object.entries(rows).flatMap(([name, text]) => {
      const words = text.split(" ").flatMap((word) => [element("span", {}, word), " "]);
      const told = text.includes("(") ? [element("code", {}, ...words.slice(0, -1))] : [text];
      return [element("dt", {}, name), element("dd", {}, ...told)];
    }),
  );
}

let waiting = false;
let addressing; // later, as browsers refuse a new address in every frame

/** At the next frame, however often it is asked for until then. */
function show() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    const settings = [state.current, ...state.pinned];
    const curves = settings.map((given) => ({ given, found: curve(given, state.steps) }));
    const shown = new Set(curves.map(({ found }) => found.key));
    for (const key of kept.keys()) if (!shown.has(key)) kept.delete(key);
    showChart(curves);
    showCurves(curves);
    showCode();
    clearTimeout(addressing);
    addressing = setTimeout(() => history.replaceState(null, "", address(state)), 300);
  });
}

function showAxes() {
  for (const name of ["logx", "logy"]) $(`#${name}`).checked = state[name];
  $("#floor").value = written(state.floor);
  $("#floor").disabled = !state.logy;
}

for (const name of ["logx", "logy"]) {
  $(`#${name}`).addEventListener("change", (event) => {
    edit(state, name, event.target.checked);
    showAxes();
  });
}
$("#floor").append(...FLOORS.map((floor) => new Option(written(floor))));
$("#floor").addEventListener("change", (event) => edit(state, "floor", Number(event.target.value)));
$("#controls").addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", () => {
  state = fromAddress(location.hash);
  showControls();
  showAxes();
  show();
});
new ResizeObserver(show).observe($("#result"));

$("#unloaded").remove();
$("main").hidden = false;
showControls();
showAxes();
show();

// What a rule of optimization and a decay make of one weight: the formulas of jaxsparse/rules, in float64.

export const CONVENTIONS = ["torch", "keras", "optax", "paper"];

export const FORMS = { l2: "coupled L2", wd: "Mehta's decay", "wd-lr": "AdamW's decay" };

const correction = (b, t) => -Math.expm1(t * Math.log(b));

// 1 for a denominator that is 0. Forms that jaxsparse takes from optax as they are divide without it: NaN for 0/0.
const quotient = (numerator, denominator) => numerator / (denominator === 0 ? 1 : denominator);

// Each makes, from a convention and hyperparameters, what takes a gradient and the step's number (1 in the first) to
// what is multiplied by the learning rate and subtracted from the weight.

// keras and paper have the learning rate inside the velocity, which makes no difference while it is constant.
function sgd(convention, { momentum, nesterov }) {
  let velocity = 0;
  return (g) => {
    velocity = g + momentum * velocity;
    return nesterov ? g + momentum * velocity : velocity;
  };
}

function correctedQuotient(convention, { b1, b2, eps }, t, m, v) {
  const c1 = correction(b1, t);
  const a = c1 / Math.sqrt(correction(b2, t));
  return quotient(m, a * Math.sqrt(v) + (convention === "keras" ? a : c1) * eps);
}

function adam(convention, hyper) {
  const { b1, b2, eps } = hyper;
  let [m, v] = [0, 0];
  return (g, t) => {
    m = b1 * m + (1 - b1) * g;
    v = b2 * v + (1 - b2) * g ** 2;
    if (convention !== "optax") return correctedQuotient(convention, hyper, t, m, v);
    return m / correction(b1, t) / (Math.sqrt(v / correction(b2, t)) + eps);
  };
}

function amsgrad(convention, hyper) {
  const { b1, b2, eps } = hyper;
  let [m, v, largest] = [0, 0, 0];
  return (g, t) => {
    m = b1 * m + (1 - b1) * g;
    v = b2 * v + (1 - b2) * g ** 2;
    largest = Math.max(largest, convention === "optax" ? v / correction(b2, t) : v);
    if (convention === "optax") return m / correction(b1, t) / (Math.sqrt(largest) + eps);
    if (convention === "paper") return quotient(m, Math.sqrt(largest) + eps);
    return correctedQuotient(convention, hyper, t, m, largest);
  };
}

function adamax(convention, { b1, b2, eps }) {
  const epsilonInside = convention === "torch" || convention === "optax";
  let [m, u] = [0, 0];
  return (g, t) => {
    m = b1 * m + (1 - b1) * g;
    u = Math.max(b2 * u, Math.abs(g) + (epsilonInside ? eps : 0));
    const c1 = correction(b1, t);
    return epsilonInside ? m / c1 / u : quotient(m, c1 * (u + eps));
  };
}

function rmsprop(convention, { decay, eps }) {
  const epsilonInside = convention === "keras" || convention === "optax";
  let v = 0;
  return (g) => {
    v = decay * v + (1 - decay) * g ** 2;
    return epsilonInside ? g / Math.sqrt(v + eps) : quotient(g, Math.sqrt(v) + eps);
  };
}

function adagrad(convention, { eps, initial_accumulator_value }) {
  const epsilonInside = convention === "keras" || convention === "optax";
  let sum = initial_accumulator_value;
  return (g) => {
    sum += g ** 2;
    if (epsilonInside) return sum > 0 ? g / Math.sqrt(sum + eps) : 0;
    return quotient(g, Math.sqrt(sum) + eps);
  };
}

function adadelta(convention, { rho, eps }) {
  let [v, moves] = [0, 0];
  return (g) => {
    v = rho * v + (1 - rho) * g ** 2;
    const move = (Math.sqrt(moves + eps) / Math.sqrt(v + eps)) * g;
    moves = rho * moves + (1 - rho) * move ** 2;
    return move;
  };
}

const moments = (eps) => ({ b1: 0.9, b2: 0.999, eps });
const noMomentum = { momentum: 0, nesterov: false };
const torchSum = { eps: 1e-10, initial_accumulator_value: 0 };
const optaxSum = { eps: 1e-7, initial_accumulator_value: 0.1 };

/** The rules: `learning_rate` is where a grid trains, `defaults` are by convention; SGD's ink is that of the page. */
export const RULES = {
  sgd: {
    label: "SGD",
    color: "#1c2126",
    learning_rate: 0.1,
    defaults: { torch: noMomentum, keras: noMomentum, optax: noMomentum, paper: noMomentum },
    begin: sgd,
  },
  adam: {
    label: "Adam",
    color: "#D55E00",
    learning_rate: 1e-3,
    defaults: { torch: moments(1e-8), keras: moments(1e-7), optax: moments(1e-8), paper: moments(1e-8) },
    begin: adam,
  },
  amsgrad: {
    label: "AMSGrad",
    color: "#E69F00",
    learning_rate: 1e-3,
    defaults: { torch: moments(1e-8), keras: moments(1e-7), optax: moments(1e-8), paper: moments(0) },
    begin: amsgrad,
  },
  adamax: {
    label: "Adamax",
    color: "#CC79A7",
    learning_rate: 2e-3,
    defaults: { torch: moments(1e-8), keras: moments(1e-7), optax: moments(1e-8), paper: moments(0) },
    begin: adamax,
  },
  rmsprop: {
    label: "RMSprop",
    color: "#0072B2",
    learning_rate: 1e-3,
    defaults: {
      torch: { decay: 0.99, eps: 1e-8 },
      keras: { decay: 0.9, eps: 1e-7 },
      optax: { decay: 0.9, eps: 1e-8 },
      paper: { decay: 0.9, eps: 0 },
    },
    begin: rmsprop,
  },
  adagrad: {
    label: "Adagrad",
    color: "#009E73",
    learning_rate: 1e-2,
    defaults: { torch: torchSum, keras: optaxSum, optax: optaxSum, paper: { ...torchSum, eps: 0 } },
    begin: adagrad,
  },
  adadelta: {
    label: "Adadelta",
    color: "#56B4E9",
    learning_rate: 1,
    defaults: {
      torch: { rho: 0.9, eps: 1e-6 },
      keras: { rho: 0.95, eps: 1e-7 },
      optax: { rho: 0.9, eps: 1e-6 },
      paper: { rho: 0.95, eps: 1e-6 },
    },
    begin: adadelta,
  },
};

/** What the sliders span. `zero`: they begin with 0 and go on with `low`. */
export const RANGES = {
  learning_rate: { low: 1e-5, high: 1 },
  strength: { low: 1e-6, high: 0.5, zero: true },
  eps: { low: 1e-12, high: 0.1, zero: true },
  momentum: { high: 0.99, fraction: true },
  b1: { high: 0.99, fraction: true },
  b2: { high: 0.9999, fraction: true },
  decay: { high: 0.9999, fraction: true },
  rho: { high: 0.9999, fraction: true },
  initial_accumulator_value: { low: 1e-6, high: 1, zero: true },
  init: { low: 1e-2, high: 10 },
  noise: { low: 1e-10, high: 1, zero: true },
  steps: { low: 100, high: 1e6 },
};

/**
 * The weight before the first step and after each.
 *
 * @param setting `{optimizer, convention, form, learning_rate, strength, init, hyper}`
 * @param gradient of the loss, from the step's number
 */
export function path(setting, steps, gradient = () => 0) {
  const { optimizer, convention, form, learning_rate, strength, init, hyper } = setting;
  const scaled = RULES[optimizer].begin(convention, hyper);
  const weights = new Float64Array(steps + 1);
  let weight = (weights[0] = init);
  for (let t = 1; t <= steps; t++) {
    const penalty = form === "l2" ? strength * weight : 0;
    const update = -learning_rate * scaled(gradient(t) + penalty, t);
    if (form === "l2") weight += update;
    else if (form === "wd") weight += update - strength * (weight + update);
    else weight += update - learning_rate * strength * weight;
    weights[t] = weight;
  }
  return weights;
}

/** Normal numbers of deviation 1, the same for the same seed: mulberry32, and Box and Muller's transformation. */
export function normal(seed) {
  let state = seed | 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** The first step after which |weight| is below a threshold; Infinity where there is none. */
export function firstBelow(weights, threshold) {
  const step = weights.findIndex((weight) => Math.abs(weight) < threshold);
  return step < 0 ? Infinity : step;
}

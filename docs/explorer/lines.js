// A setting as a line of jaxsparse, PyTorch and optax.

import { CONVENTIONS, RULES } from "./recursions.js";

/** The shorter of 0.001 and 1e-3. */
export function written(number) {
  const [plain, power] = [String(number), number.toExponential().replace("e+", "e")];
  return power.length < plain.length ? power : plain;
}

const value = (given) => (typeof given === "boolean" ? (given ? "True" : "False") : written(given));

/** What differs from a library's defaults, as `{name: text}`. */
function different(hyper, defaults) {
  const changed = Object.entries(hyper).filter(([name, given]) => given !== defaults[name]);
  return Object.fromEntries(changed.map(([name, given]) => [name, value(given)]));
}

const call = (name, first, named) =>
  `${name}(${[...first, ...Object.entries(named).map(([argument, text]) => `${argument}=${text}`)].join(", ")})`;

export function jaxsparse({ optimizer, convention, form, learning_rate, strength, hyper }) {
  const named = different(hyper, RULES[optimizer].defaults[convention]);
  if (strength > 0) {
    const regularizers = {
      l2: `js.CoupledL2(${written(strength)})`,
      wd: `js.DecoupledDecay(${written(strength)})`,
      "wd-lr": `js.DecoupledDecay(${written(strength)}, scale="learning_rate")`,
    };
    named.regularizer = regularizers[form];
  }
  if (convention !== "torch") named.convention = `"${convention}"`;
  return call(`js.${optimizer}`, [written(learning_rate)], named);
}

// By rule: the name, and the conventions whose formula it has.
const TORCH = {
  sgd: ["SGD", CONVENTIONS],
  adam: ["Adam", ["torch", "optax", "paper"]],
  amsgrad: ["Adam", ["torch"]],
  adamax: ["Adamax", ["torch", "optax"]],
  rmsprop: ["RMSprop", ["torch", "paper"]],
  adagrad: ["Adagrad", ["torch", "paper"]],
  adadelta: ["Adadelta", CONVENTIONS],
};

/** None where `torch.optim` has no such form: of decoupled decay it has AdamW's. */
export function torch({ optimizer, convention, form, learning_rate, strength, hyper }) {
  const [name, conventions] = TORCH[optimizer];
  const decoupled = strength > 0 && form !== "l2";
  if (!conventions.includes(convention) || (decoupled && !(form === "wd-lr" && name === "Adam"))) return null;
  const named = different(hyper, RULES[optimizer].defaults.torch);
  const { b1, b2, decay, ...rest } = named;
  return call(`torch.optim.${decoupled ? "AdamW" : name}`, ["params"], {
    lr: written(learning_rate),
    ...(b1 || b2 ? { betas: `(${written(hyper.b1)}, ${written(hyper.b2)})` } : {}),
    ...(decay ? { alpha: decay } : {}),
    ...rest,
    ...(optimizer === "amsgrad" ? { amsgrad: "True" } : {}),
    ...(strength > 0 ? { weight_decay: written(strength) } : {}),
  });
}

// By rule: the arguments that give optax's function a convention's formula.
const AS_IT_IS = {};
const OUTSIDE = { eps_in_sqrt: "False" };
const UNCORRECTED = { bias_correction_mu: "False", bias_correction_nu: "False" };
const OPTAX = {
  sgd: { torch: AS_IT_IS, keras: AS_IT_IS, optax: AS_IT_IS, paper: AS_IT_IS },
  adam: { torch: AS_IT_IS, optax: AS_IT_IS, paper: AS_IT_IS },
  amsgrad: { optax: AS_IT_IS, paper: UNCORRECTED },
  adamax: { torch: AS_IT_IS, optax: AS_IT_IS },
  rmsprop: { torch: OUTSIDE, keras: AS_IT_IS, optax: AS_IT_IS, paper: OUTSIDE },
  adagrad: { keras: AS_IT_IS, optax: AS_IT_IS },
  adadelta: { torch: AS_IT_IS, keras: AS_IT_IS, optax: AS_IT_IS, paper: AS_IT_IS },
};

/** None where optax has no such form. */
export function optax({ optimizer, convention, form, learning_rate, strength, hyper }) {
  const more = OPTAX[optimizer][convention];
  if (more === undefined) return null;
  const [rate, decay] = [written(learning_rate), written(strength)];
  const named = { ...different(hyper, RULES[optimizer].defaults.optax), ...more };
  const rule = call(`optax.${optimizer}`, [rate], named);
  if (strength === 0) return rule;
  if (form === "l2") return `optax.chain(optax.add_decayed_weights(${decay}), ${rule})`;
  if (form === "wd") return `optax.chain(${rule}, optax.scale(1 - ${decay}), optax.add_decayed_weights(-${decay}))`;
  if (optimizer === "adam") return call("optax.adamw", [rate], { ...named, weight_decay: decay });
  return `optax.chain(${rule}, optax.add_decayed_weights(-${rate} * ${decay}))`;
}

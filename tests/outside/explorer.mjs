// Runs the modules of docs/explorer on cases: node explorer.mjs FOLDER < cases.json > results.json
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const modules = ["recursions", "theory", "lines"].map((name) =>
  import(pathToFileURL(resolve(process.argv[2], `${name}.js`)).href),
);
const [recursions, { stepsTo }, lines] = await Promise.all(modules);
const { threshold, marks, cases } = JSON.parse(readFileSync(0, "utf8"));
const results = cases.map((setting) => {
  const { gradients } = setting;
  const weights = recursions.path(setting, marks.at(-1), gradients && ((t) => gradients[t - 1]));
  return {
    weights: marks.map((step) => weights[step]),
    below: recursions.firstBelow(weights, threshold),
    theory: stepsTo(threshold, setting),
    jaxsparse: lines.jaxsparse(setting),
    torch: lines.torch(setting),
    optax: lines.optax(setting),
  };
});
const draw = recursions.normal(1);
const normal = Array.from({ length: 10000 }, draw);
const constants = { rules: recursions.RULES, ranges: recursions.RANGES, normal };
const named = (key, value) => (typeof value === "number" && !Number.isFinite(value) ? String(value) : value);
process.stdout.write(JSON.stringify({ ...constants, results }, named));

// The exact cases of docs/theory.md in closed form: SGD with coupled L2, and decoupled decay or none with any rule.

/**
 * `w_{k+1} = (2 - s) w_k - b w_{k-1}`, `s = 1 - b + h`: written in b, the product of the characteristic roots, and h,
 * that of their distances to 1, so that a weak penalty cancels nothing.
 */
class Recursion {
  constructor(first, second, b, h) {
    Object.assign(this, { first, second, b, h, s: 1 - b + h });
    const root = Math.sqrt(b);
    this.discriminant = b < 0 ? this.s ** 2 - 4 * h : ((1 - root) ** 2 - h) * ((1 + root) ** 2 - h);
    this.oscillates = this.discriminant < 0;
    if (this.oscillates) {
      this.logRadius = Math.log(b) / 2;
      return;
    }
    const distance = Math.sqrt(this.discriminant);
    const toOne = (2 * h) / (this.s + distance);
    this.root = this.s <= 2 ? 1 - toOne : (2 - this.s - distance) / 2;
    this.logRadius = this.root > 0 && this.s > 0 ? Math.log1p(-toOne) : Math.log(Math.abs(this.root));
    this.ratio = b / this.root ** 2;
  }

  at(k) {
    return this.oscillates ? this.wave(k) : this.sum(k);
  }

  wave(k) {
    const [modulus, height, a] = [Math.sqrt(this.b), Math.sqrt(-this.discriminant), 2 - this.s];
    const angle = Math.atan2(height, a);
    const sine = Math.sin(k * angle) * ((2 * modulus) / height);
    const cosine = Math.cos(k * angle) - (a / (2 * modulus)) * sine;
    return Math.exp(k * this.logRadius) * (this.first * cosine + (this.second / modulus) * sine);
  }

  sum(k) {
    if (this.root === 0) return k === 0 ? this.first : k === 1 ? this.second : 0;
    const sign = this.root < 0 && k % 2 ? -1 : 1;
    const factor = (this.second - this.root * this.first) / this.root;
    return sign * Math.exp(k * this.logRadius) * (this.first + factor * this.geometricSum(k));
  }

  /** `1 + ratio + .. + ratio^(k-1)`. */
  geometricSum(k) {
    if (this.discriminant === 0) return k;
    if (this.ratio <= 0.5) return (1 - this.ratio ** k) / (1 - this.ratio);
    const logarithm = Math.log1p(-Math.sqrt(this.discriminant) / Math.abs(this.root));
    return Math.expm1(k * logarithm) / Math.expm1(logarithm);
  }

  /** Step by step until the smaller root is forgotten, then from the logarithm. */
  firstBelow(threshold) {
    if (Math.abs(this.first) < threshold) return 0;
    let k = 1;
    const settled = () => !this.oscillates && (this.root === 0 || Math.abs(this.ratio) ** k < 1e-18);
    for (; k < 2 || !settled(); k++) {
      if (Math.abs(this.at(k)) < threshold) return k;
      if (this.logRadius >= 0 && k > 1e6) return Infinity;
    }
    if (this.logRadius >= 0) return Infinity;
    const more = Math.floor(Math.log(Math.abs(this.at(k)) / threshold) / -this.logRadius);
    for (let near = k + Math.max(more - 2, 0); near < k + more + 4; near++) {
      if (Math.abs(this.at(near)) < threshold) return near;
    }
    return Infinity;
  }
}

const geometric = (init, share) => new Recursion(init, init - share * init, 0, share);

function momentum(h, init, { momentum, nesterov }) {
  if (nesterov) return new Recursion(init, init - h * (1 + momentum) * init, momentum * (1 - h), h);
  return new Recursion(init, init - h * init, momentum, h);
}

/** The first step below a threshold without a gradient of the loss; NaN where there is no closed form. */
export function stepsTo(threshold, { optimizer, form, learning_rate, strength, init, hyper }) {
  if (strength === 0) return geometric(init, 0).firstBelow(threshold);
  if (form === "wd") return geometric(init, strength).firstBelow(threshold);
  if (form === "wd-lr") return geometric(init, learning_rate * strength).firstBelow(threshold);
  return optimizer === "sgd" ? momentum(learning_rate * strength, init, hyper).firstBelow(threshold) : NaN;
}

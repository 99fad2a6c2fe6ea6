// The client's copy of the published value: snapshots replace it, deltas are added to it, digests prove it.

import { TYPES, digest } from "./arrays.js";
import { PayloadError } from "./errors.js";
import { decode } from "./payload.js";

/** The smallest and largest stored value of an outer parameter within its bounds. */
export function limits({ dtype, scale, lower, upper }) {
  const stored = (bound) => (scale === "SCALE_LOG" ? Math.log(bound) : bound);
  return {
    low: lower === undefined ? -Infinity : inward(stored(lower), dtype, 1),
    high: upper === undefined ? Infinity : inward(stored(upper), dtype, -1),
  };
}

/** p ← clip(p + delta), one addition in the dtype of the array, then the bounds. */
export function applyDelta(held, delta, parameters) {
  const next = {};
  for (const parameter of parameters) {
    const { low, high } = limits(parameter);
    const { dtype, shape, values } = held[parameter.name];
    const steps = delta[parameter.name].values;
    // Writing into a typed array rounds to its dtype; a float32 sum is exact in a double before that.
    const sum = TYPES[dtype].from(values, (value, index) => value + steps[index]);
    const clipped = sum.map((value) => (value < low ? low : value > high ? high : value));
    next[parameter.name] = { dtype, shape, values: clipped };
  }
  return next;
}

/** What is held of a run, in stored coordinates u. */
export class Replica {
  #parameters;
  #specs;

  /** @param parameters the run's outer parameters, `[{name, shape, dtype: "float32", scale, lower?, upper?}]`. */
  constructor(parameters) {
    this.#parameters = parameters;
    this.#specs = parameters.map(({ name, shape, dtype }) => ({ name, shape, dtype }));
    this.forget();
  }

  /** The next checkout brings a snapshot, since nothing is known. */
  forget() {
    this.version = null;
    this.arrays = null;
  }

  /**
   * Takes in a checkout and returns the arrays.
   *
   * @throws PayloadError damaged, unfitting, or not what the digest says; nothing is held then.
   */
  take(checkout) {
    const { version, arrays } = this;
    this.forget();
    const next = this.#applied(version, arrays, checkout);
    if (digest(next) !== checkout.digest) {
      throw new PayloadError("DIGEST_MISMATCH", `the values of version ${checkout.version} do not have its digest`);
    }
    this.version = checkout.version;
    this.arrays = next;
    return next;
  }

  #applied(version, held, checkout) {
    let arrays = held;
    for (const { kind, payload } of checkout.parts) {
      if (kind === "PART_KIND_SNAPSHOT") arrays = decode(payload, { specs: this.#specs });
      else if (kind === "PART_KIND_DELTA" && arrays !== null) {
        arrays = applyDelta(arrays, decode(payload, { specs: this.#specs }), this.#parameters);
      } else throw new PayloadError("MALFORMED_PAYLOAD", `a ${kind} came to a client that holds version ${version}`);
    }
    if (arrays === null) throw new PayloadError("MALFORMED_PAYLOAD", "no values came to a client that holds none");
    return arrays;
  }
}

/** The value of `dtype` nearest to a bound that does not lie outside of it; `side` points to the inside. */
function inward(bound, dtype, side) {
  const rounded = dtype === "float32" ? Math.fround(bound) : bound;
  return side * (rounded - bound) < 0 ? nextFloat32(rounded, side) : rounded;
}

function nextFloat32(value, direction) {
  if (value === 0) return direction * 2 ** -149;
  const bits = new Int32Array(Float32Array.of(value).buffer);
  bits[0] += value > 0 === direction > 0 ? 1 : -1;
  return new Float32Array(bits.buffer)[0];
}

// The problem: a quadratic in two levels, whose minimum is known.
//
//   inner loss  ½ Σ hᵢ θᵢ² − uᵢ θᵢ     minimal at θᵢ = uᵢ / hᵢ
//   outer loss  ½ Σ (θᵢ − tᵢ)²          at the inner minimum; minimal at uᵢ = hᵢ tᵢ
//
// The hypergradient by implicit differentiation is (θᵢ − tᵢ) · dθᵢ/duᵢ = (θᵢ − tᵢ) / hᵢ.

export const INNER_STEPS = 20;
const INNER_RATE = 0.8; // hᵢ lies in 1..1.25, so that a step leaves a fifth of the error at most

export class Quadratic {
  #h;
  #target;
  #theta;

  constructor(dimensions) {
    this.#h = Float64Array.from({ length: dimensions }, (_, i) => 1 + (i % 5) / 16);
    this.#target = Float64Array.from({ length: dimensions }, (_, i) => (((7 * i) % 11) - 5) / 5);
    this.#theta = new Float64Array(dimensions);
  }

  /**
   * Works on a version: inner steps from where the last ones ended, then the hypergradient.
   *
   * @param u the outer parameters.
   * @param late whether the lease is over; then what was done so far is what counts.
   * @returns `{gradient, work, outerLoss}` with the share of the steps that was done, above 0.
   */
  update(u, late) {
    let steps = 0;
    do {
      this.#theta = this.#theta.map((theta, i) => theta - INNER_RATE * (this.#h[i] * theta - u[i]));
      steps += 1;
    } while (steps < INNER_STEPS && !late());
    const error = this.#theta.map((theta, i) => theta - this.#target[i]);
    return {
      gradient: error.map((value, i) => value / this.#h[i]),
      work: steps / INNER_STEPS,
      outerLoss: error.reduce((sum, value) => sum + value * value, 0) / 2,
    };
  }

  /** The largest distance of an outer parameter from the minimum. */
  distance(u) {
    return u.reduce((most, value, i) => Math.max(most, Math.abs(value - this.#h[i] * this.#target[i])), 0);
  }
}
